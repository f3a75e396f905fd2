// Package api is the table of operations: one row for each, one file for each
// service. A request finds its row, and the row's pipeline does the rest:
// authenticate, decode, authorise, call the service, encode.
//
// Invariants: no handler runs before the signature was verified and, unless the
// row says otherwise, a policy allowed the call; every refusal is rendered by
// the one error table; an operation that has no row answers 501 with its name,
// to those whose signature is good.
package api
