// Package s3 holds buckets, their policies and the rules that every object
// obeys whatever engine keeps it: names, sizes, conditions, checksums and the
// order of parts.
//
// Invariant: a key is a string of bytes. Nothing here or below ever normalises
// one, so the bytes that were authorised are the bytes that are used.
package s3
