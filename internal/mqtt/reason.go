package mqtt

import (
	"errors"
	"fmt"
)

// ReasonCode is the reason for the outcome of an operation (section 2.4). As an
// error it is the reason why a packet is refused or a connection ends.
type ReasonCode byte //nolint:errname // the standard's name

// The reason codes in the order of the standard. Success also stands for
// "Normal disconnection" and "Granted QoS 0".
//
//nolint:errname // the standard's names
const (
	Success                             ReasonCode = 0x00
	GrantedQoS1                         ReasonCode = 0x01
	GrantedQoS2                         ReasonCode = 0x02
	DisconnectWithWill                  ReasonCode = 0x04
	NoMatchingSubscribers               ReasonCode = 0x10
	NoSubscriptionExisted               ReasonCode = 0x11
	ContinueAuthentication              ReasonCode = 0x18
	ReAuthenticate                      ReasonCode = 0x19
	UnspecifiedError                    ReasonCode = 0x80
	MalformedPacket                     ReasonCode = 0x81
	ProtocolError                       ReasonCode = 0x82
	ImplementationSpecificError         ReasonCode = 0x83
	UnsupportedProtocolVersion          ReasonCode = 0x84
	ClientIdentifierNotValid            ReasonCode = 0x85
	BadUserNameOrPassword               ReasonCode = 0x86
	NotAuthorized                       ReasonCode = 0x87
	ServerUnavailable                   ReasonCode = 0x88
	ServerBusy                          ReasonCode = 0x89
	Banned                              ReasonCode = 0x8A
	ServerShuttingDown                  ReasonCode = 0x8B
	BadAuthenticationMethod             ReasonCode = 0x8C
	KeepAliveTimeout                    ReasonCode = 0x8D
	SessionTakenOver                    ReasonCode = 0x8E
	TopicFilterInvalid                  ReasonCode = 0x8F
	TopicNameInvalid                    ReasonCode = 0x90
	PacketIdentifierInUse               ReasonCode = 0x91
	PacketIdentifierNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded              ReasonCode = 0x93
	TopicAliasInvalid                   ReasonCode = 0x94
	PacketTooLarge                      ReasonCode = 0x95
	MessageRateTooHigh                  ReasonCode = 0x96
	QuotaExceeded                       ReasonCode = 0x97
	AdministrativeAction                ReasonCode = 0x98
	PayloadFormatInvalid                ReasonCode = 0x99
	RetainNotSupported                  ReasonCode = 0x9A
	QoSNotSupported                     ReasonCode = 0x9B
	UseAnotherServer                    ReasonCode = 0x9C
	ServerMoved                         ReasonCode = 0x9D
	SharedSubscriptionsNotSupported     ReasonCode = 0x9E
	ConnectionRateExceeded              ReasonCode = 0x9F
	MaximumConnectTime                  ReasonCode = 0xA0
	SubscriptionIdentifiersNotSupported ReasonCode = 0xA1
	WildcardSubscriptionsNotSupported   ReasonCode = 0xA2
)

// Sets of packets, a bit per type. DISCONNECT and AUTH of the server have bits
// of their own, and so have the will properties inside CONNECT.
const (
	inConnack     = 1 << TypeConnack
	inPuback      = 1<<TypePuback | 1<<TypePubrec
	inPubrel      = 1<<TypePubrel | 1<<TypePubcomp
	inSuback      = 1 << TypeSuback
	inUnsuback    = 1 << TypeUnsuback
	inClientBye   = 1 << TypeDisconnect
	inServerBye   = 1 << 16
	inBye         = inClientBye | inServerBye
	inClientAuth  = 1 << TypeAuth
	inServerAuth  = 1 << 17
	inWill        = 1 << 0
	inEverySuback = inSuback | inUnsuback
)

type reason struct {
	name string
	in   uint32
}

//nolint:gochecknoglobals // constant table: names of section 2.4; packets and senders of the tables in sections 3.2 to 3.15
var reasons = [256]reason{
	Success:                             {"Success", inConnack | inPuback | inPubrel | inEverySuback | inBye | inServerAuth},
	GrantedQoS1:                         {"Granted QoS 1", inSuback},
	GrantedQoS2:                         {"Granted QoS 2", inSuback},
	DisconnectWithWill:                  {"Disconnect with Will Message", inClientBye},
	NoMatchingSubscribers:               {"No matching subscribers", inPuback},
	NoSubscriptionExisted:               {"No subscription existed", inUnsuback},
	ContinueAuthentication:              {"Continue authentication", inClientAuth | inServerAuth},
	ReAuthenticate:                      {"Re-authenticate", inClientAuth},
	UnspecifiedError:                    {"Unspecified error", inConnack | inPuback | inEverySuback | inBye},
	MalformedPacket:                     {"Malformed Packet", inConnack | inBye},
	ProtocolError:                       {"Protocol Error", inConnack | inBye},
	ImplementationSpecificError:         {"Implementation specific error", inConnack | inPuback | inEverySuback | inBye},
	UnsupportedProtocolVersion:          {"Unsupported Protocol Version", inConnack},
	ClientIdentifierNotValid:            {"Client Identifier not valid", inConnack},
	BadUserNameOrPassword:               {"Bad User Name or Password", inConnack},
	NotAuthorized:                       {"Not authorized", inConnack | inPuback | inEverySuback | inServerBye},
	ServerUnavailable:                   {"Server unavailable", inConnack},
	ServerBusy:                          {"Server busy", inConnack | inServerBye},
	Banned:                              {"Banned", inConnack},
	ServerShuttingDown:                  {"Server shutting down", inServerBye},
	BadAuthenticationMethod:             {"Bad authentication method", inConnack | inServerBye},
	KeepAliveTimeout:                    {"Keep Alive timeout", inServerBye},
	SessionTakenOver:                    {"Session taken over", inServerBye},
	TopicFilterInvalid:                  {"Topic Filter invalid", inEverySuback | inServerBye},
	TopicNameInvalid:                    {"Topic Name invalid", inConnack | inPuback | inBye},
	PacketIdentifierInUse:               {"Packet Identifier in use", inPuback | inEverySuback},
	PacketIdentifierNotFound:            {"Packet Identifier not found", inPubrel},
	ReceiveMaximumExceeded:              {"Receive Maximum exceeded", inBye},
	TopicAliasInvalid:                   {"Topic Alias invalid", inBye},
	PacketTooLarge:                      {"Packet too large", inConnack | inBye},
	MessageRateTooHigh:                  {"Message rate too high", inBye},
	QuotaExceeded:                       {"Quota exceeded", inConnack | inPuback | inSuback | inBye},
	AdministrativeAction:                {"Administrative action", inBye},
	PayloadFormatInvalid:                {"Payload format invalid", inConnack | inPuback | inBye},
	RetainNotSupported:                  {"Retain not supported", inConnack | inServerBye},
	QoSNotSupported:                     {"QoS not supported", inConnack | inServerBye},
	UseAnotherServer:                    {"Use another server", inConnack | inServerBye},
	ServerMoved:                         {"Server moved", inConnack | inServerBye},
	SharedSubscriptionsNotSupported:     {"Shared Subscriptions not supported", inSuback | inServerBye},
	ConnectionRateExceeded:              {"Connection rate exceeded", inConnack | inServerBye},
	MaximumConnectTime:                  {"Maximum connect time", inServerBye},
	SubscriptionIdentifiersNotSupported: {"Subscription Identifiers not supported", inSuback | inServerBye},
	WildcardSubscriptionsNotSupported:   {"Wildcard Subscriptions not supported", inSuback | inServerBye},
}

// Error returns the name of the code.
func (c ReasonCode) Error() string {
	if s := reasons[c].name; s != "" {
		return s
	}
	return fmt.Sprintf("reason code 0x%02X", byte(c))
}

// Failed reports whether the code is one of failure.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// In reports whether a packet of type t from that side may carry the code in
// MQTT 5.
func (c ReasonCode) In(t PacketType, from Side) bool {
	in := uint32(1) << (t & 0x0f)
	switch {
	case from == Server && t == TypeDisconnect:
		in = inServerBye
	case from == Server && t == TypeAuth:
		in = inServerAuth
	}
	return reasons[c].in&in != 0
}

// ReturnCode returns the code of a 3.1.1 CONNACK that says the same (3.1.1,
// section 3.2.2.3); without one the connection is closed unanswered.
func (c ReasonCode) ReturnCode() (code byte, ok bool) {
	switch c { //nolint:exhaustive // the others have none
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIdentifierNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, QuotaExceeded, UseAnotherServer, ServerMoved,
		ConnectionRateExceeded, UnspecifiedError, ImplementationSpecificError:
		return 3, true
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return 4, true
	case NotAuthorized, Banned:
		return 5, true
	default:
		return 0, false
	}
}

// ofReturnCode is the way back from a 3.1.1 CONNACK.
func ofReturnCode(code byte) (c ReasonCode, ok bool) {
	codes := [...]ReasonCode{
		Success, UnsupportedProtocolVersion, ClientIdentifierNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized,
	}
	if int(code) >= len(codes) {
		return 0, false
	}
	return codes[code], true
}

// Error is a refused packet: the code to answer with and, for the log, what
// was wrong. errors.Is finds the code.
type Error struct {
	Code   ReasonCode
	Detail string
}

// Error returns the name of the code and the detail.
func (e *Error) Error() string { return e.Code.Error() + ": " + e.Detail }

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }

// CodeOf returns the reason code inside err: Success for nil, UnspecifiedError
// for an error that carries none.
func CodeOf(err error) ReasonCode {
	if err == nil {
		return Success
	}
	if c, ok := errors.AsType[ReasonCode](err); ok {
		return c
	}
	return UnspecifiedError
}

func malformed(detail string) error { return &Error{Code: MalformedPacket, Detail: detail} }

func protocolError(detail string) error { return &Error{Code: ProtocolError, Detail: detail} }
