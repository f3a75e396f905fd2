// Package uploads keeps the ledger: one record for each upload of a device, by
// whatever door it came, made of what the server saw itself, or of a failure that
// the device tells.
//
// Invariant: the record of an object is written in the transaction that commits
// the object, so that neither is there without the other; a message is
// acknowledged when its record is on disk; and keeping records never blocks who
// hands them over: what does not fit is refused.
package uploads
