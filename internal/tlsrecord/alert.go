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

// Alert is an alert of RFC 8446 section 6, sent for what the peer did.
type Alert uint8

// The alerts that matter here.
const (
	closeNotify       Alert = 0
	unexpectedMessage Alert = 10
	badRecordMAC      Alert = 20
	recordOverflow    Alert = 22
	illegalParameter  Alert = 47
	decodeError       Alert = 50
	protocolVersion   Alert = 70
	internalError     Alert = 80
	userCanceled      Alert = 90
	noRenegotiation   Alert = 100
)

// Error implements error.
func (a Alert) Error() string { return fmt.Sprintf("tls: the peer was sent alert %d", uint8(a)) }

// PeerAlert is an alert by which the peer ended the connection.
type PeerAlert uint8

// Error implements error.
func (a PeerAlert) Error() string { return fmt.Sprintf("tls: the peer sent alert %d", uint8(a)) }
