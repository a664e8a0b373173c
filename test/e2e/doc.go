// Package e2e holds the tests on the running lab. It installs Fairlead once: an earlier
// version, which is upgraded. It fails on each fact of package scenario that does not
// hold, on bad input that is accepted or not explained, and on a node that an uninstall
// does not restore. Its tests carry the build tag lab; `make test-lab`
// runs them.
package e2e
