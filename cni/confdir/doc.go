// Package confdir is the node's directory of CNI configurations: it finds the cluster's
// own network there (Primary), puts Fairlead's shim and its conf in front of it
// (Installer), and names software that takes them away (Contest). It runs no plugin.
package confdir
