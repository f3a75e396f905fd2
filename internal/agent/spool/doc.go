// Package spool is the device's memory of the files that it has accepted: a
// journal on disk that survives kill -9 and power loss, for one agent at a time.
//
// Invariant: a record that Accept returned is there after any crash, until it is
// done; a journal that cannot be read whole is said to be so and never guessed at.
package spool
