// Package bench measures and tests whole ADDs and DELs in the agent, in real network namespaces
// and with the stock plugins as primary network. It has no code besides its tests.
package bench
