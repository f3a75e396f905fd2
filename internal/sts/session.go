package sts

// session is an opened session token. It is shared and never changes.
type session struct {
	derived bool // assumed from another session: the device variables end there
}
