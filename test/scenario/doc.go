// Package scenario checks facts about the main job and the everyday scenarios. It
// applies manifests to the running lab, waits for their pods, and measures on
// the nodes and in the pods whether each claim holds. The demo prints the facts;
// the end-to-end tests fail if one does not hold.
//
// It starts and stops no lab (test/lab does). It reads a VF's state
// on the node, from the kernel, and not from the agent that it checks.
package scenario
