// Package iot is the vocabulary that every room shares: account and resource
// names, ARNs, the one error type and the notice that something changed.
//
// It imports nothing of ours, and a value of one of its types that came out of
// a Parse function satisfies the grammar that AWS publishes for it.
package iot
