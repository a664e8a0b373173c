// Package confdir is the node's directory of CNI configurations: it finds the cluster's
// own network there (Primary), and puts Fairlead's shim and its conf in front of it
// (Installer). It runs no plugin.
package confdir
