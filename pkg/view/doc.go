// Package view turns node states into text for people: the topology as a tree, tables of nodes,
// pools and VFs, one VF in full. It is pure: it asks no agent and writes to no terminal; the
// width and the use of colour are arguments.
package view
