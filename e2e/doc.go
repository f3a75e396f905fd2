// Package e2e holds the end-to-end tests: bin/sekisho started as a user would
// start it, and driven by clients that nobody here wrote. `make e2e` runs them;
// they are behind the build tag e2e.
package e2e
