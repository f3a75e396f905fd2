// Package uploads keeps the ledger: one record for each upload of a device, by
// whatever door it came, made of what the server saw itself.
//
// Invariant: the record of an object is written in the transaction that commits
// the object, so that neither is there without the other; and keeping records
// never holds up or fails an upload.
package uploads
