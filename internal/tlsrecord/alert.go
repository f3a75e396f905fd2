package tlsrecord

import "fmt"

// The content types of records.
const (
	typeAlert       = 21
	typeHandshake   = 22
	typeApplication = 23
)

// The levels of alerts.
const (
	levelWarning = 1
	levelFatal   = 2
)

// The alerts of RFC 8446 section 6 and RFC 5246 section 7.2 that matter here.
const (
	closeNotify       = 0
	unexpectedMessage = 10
	badRecordMAC      = 20
	recordOverflow    = 22
	illegalParameter  = 47
	decodeError       = 50
	protocolVersion   = 70
	internalError     = 80
	userCanceled      = 90
	noRenegotiation   = 100
)

// AlertError is the alert that the peer was sent for what it did.
type AlertError uint8

// Error implements error.
func (a AlertError) Error() string { return fmt.Sprintf("tls: the peer was sent alert %d", uint8(a)) }

// PeerAlertError is an alert by which the peer ended the connection.
type PeerAlertError uint8

// Error implements error.
func (a PeerAlertError) Error() string { return fmt.Sprintf("tls: the peer sent alert %d", uint8(a)) }
