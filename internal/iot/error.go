package iot

import (
	"errors"
	"fmt"
)

// Kind classifies an Error. The set is closed: the edge maps every
// (service, Kind, Resource) to that protocol's code and status.
type Kind uint8

// The kinds of errors.
const (
	KindInternal        Kind = iota // the machine failed; the caller learns nothing more
	KindInvalid                     // a value out of its grammar or range
	KindMalformed                   // a policy document that does not parse or compile
	KindNotFound                    // the named resource does not exist
	KindExists                      // the named resource exists already, with other settings
	KindConflict                    // something still hangs on the resource
	KindVersionConflict             // the expected version is not the current one
	KindState                       // the resource's status forbids it
	KindLimit                       // a quota on resources
	KindVersionLimit                // a quota on versions of one policy
	KindDenied                      // authorisation
	KindPrecondition                // If-Match and its kin
	KindNotModified                 // If-None-Match and its kin on reads
	KindTooLarge                    // input over a size limit
	KindTooSmall                    // input under a size limit
	KindExpired                     // a token past its time
	KindBadToken                    // a token that was not sealed by us, or for another key
	KindUnknownKey                  // an access key that does not exist or is inactive
	KindNotBuilt                    // an operation that is known but not built
	KindBusy                        // try again later
)

// String returns the kind's name for logs.
func (k Kind) String() string {
	names := [...]string{
		"internal", "invalid", "malformed", "not-found", "exists", "conflict", "version-conflict",
		"state", "limit", "version-limit", "denied", "precondition", "not-modified", "too-large",
		"too-small", "expired", "bad-token", "unknown-key", "not-built", "busy",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Error is the one error type that services return for what a caller did.
// Anything else that comes out of a service is an internal failure.
type Error struct {
	Kind     Kind
	Resource string // the kind of thing concerned: "thing", "certificate", "bucket", "part-order", …
	Message  string // for the caller; never holds a secret
	ID       string // resourceId, where the protocol has a place for it
	ARN      string // resourceArn, likewise
	Err      error  // the cause, for the log
}

// Error renders the error for logs; the edge renders it for callers.
func (e *Error) Error() string {
	s := e.Kind.String()
	if e.Resource != "" {
		s += " " + e.Resource
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an *Error with a formatted message for the caller.
func Errorf(k Kind, resource, format string, args ...any) *Error {
	return &Error{Kind: k, Resource: resource, Message: fmt.Sprintf(format, args...)}
}

// IsKind reports whether err is an *Error of that kind.
func IsKind(err error, k Kind) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == k
}
