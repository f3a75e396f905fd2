// Package sts turns what somebody presents into who they are: role aliases and
// the credential provider for devices, assumed roles, the session tokens that
// both hand out, and the authenticator that every request passes.
//
// Invariant: a session is what its sealed token says and nothing else, and it
// is worth something only while the certificate, thing, attachment, user, key
// and roles behind it are the very ones it was issued for. Names never count:
// what is recreated under an old name is another thing.
package sts
