// Package e2e proves, on the running lab, what the issue asks for: it installs
// Fairlead once and fails on every fact of package scenario that does not hold, on
// bad input that is accepted or not explained, and on a node that an uninstall
// leaves other than it was. Its tests carry the build tag lab; `make test-lab`
// runs them.
package e2e
