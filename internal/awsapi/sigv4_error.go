package awsapi

import "fmt"

// Reason says what is wrong with a request before any operation sees it. The
// set is closed: the edge maps every (protocol, Reason) to a code and a status.
type Reason uint8

// The reasons.
const (
	ReasonMalformed      Reason = iota + 1 // the authentication does not parse
	ReasonUnsupported                      // SigV2, SigV4A or another scheme
	ReasonSignature                        // the signature is not the one that the secret gives
	ReasonUnsignedHeader                   // Host or an x-amz-* header is not among the signed ones
	ReasonSkew                             // the date is too far from ours
	ReasonExpired                          // a presigned URL past its time
	ReasonPayloadHeader                    // x-amz-content-sha256 is absent, unknown or not allowed here
	ReasonPayloadHash                      // the body is not the one that was signed
	ReasonMissingLength                    // a length that the protocol demands is absent or not a number
	ReasonIncomplete                       // the body ended early or is longer than declared
	ReasonChunk                            // the aws-chunked framing does not parse
	ReasonChunkSize                        // a chunk but the last is shorter than 8 KiB
	ReasonTrailer                          // the trailer is malformed or not the announced one
	ReasonTimeout                          // the client stopped sending
)

// RequestError is a refusal by the wire layer. Message is for the caller and
// holds nothing that the caller did not send.
type RequestError struct {
	Reason  Reason
	Message string
	Err     error // the cause, for the log
}

// Error renders the error for logs.
func (e *RequestError) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

func refuse(reason Reason, format string, args ...any) *RequestError {
	return &RequestError{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
