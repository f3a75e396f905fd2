// Package storetest is the conformance suite of the stores: what a service may
// rely on, whichever database is below. Each Run function is given a way to
// open an empty database.
package storetest
