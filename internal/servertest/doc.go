// Package servertest is the house's test harness: the real server on free
// ports, inside the test's process, with clients that nobody here wrote.
//
// Invariant: what a test of this package sees went over real sockets, through
// the same handlers, stores and files as a user's request.
package servertest
