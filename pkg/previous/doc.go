// Package previous reads the files that Multus and sriov-cni keep about running pods, so
// that Fairlead can release the pods that those programs have made.
//
// It turns the files into attachments of the ledger, and removes them when the attachments
// are released. It changes no link and runs no plugin: pkg/sandbox releases the attachments
// like any others.
package previous
