package api

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 has it so; it proves nothing
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

const (
	webSocketVersion = "13"
	webSocketGUID    = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	webSocketLife    = 24 * time.Hour // of a connection with credentials, as AWS has it
)

// WebSocketOptions is what a WebSocket is made of.
type WebSocketOptions struct {
	Attach      func(net.Conn, broker.Attachment) // takes the connection over; broker.Broker has it
	PublicHosts []string                          // the names, with all below them, that a client may ask for by SNI
	Logger      *slog.Logger
	Now         func() time.Time
}

// WebSocket opens MQTT over WebSocket, for Options.MQTT of a Handler. Who
// signed the request is who connects; on the device port, by way of
// Handler.DeviceMQTT, the certificate is, where there is no signature. Whether
// a certificate is any good is judged when it connects.
type WebSocket struct {
	deviceCertificates
	attach func(net.Conn, broker.Attachment)
	log    *slog.Logger
	now    func() time.Time
}

// NewWebSocket returns the handler.
func NewWebSocket(o WebSocketOptions) *WebSocket {
	return &WebSocket{deviceCertificates: newDeviceCertificates(o.PublicHosts), attach: o.Attach, log: o.Logger, now: o.Now}
}

// ServeHTTP makes a request a connection of the broker's.
func (s *WebSocket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	peer, err := s.peer(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	protocol, err := checkUpgrade(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.log.LogAttrs(r.Context(), slog.LevelError, "websocket not opened", slog.Any("error", err))
		s.refuse(w, r, refuse("InternalFailureException", http.StatusInternalServerError, internalMessage))
		return
	}
	early, err := buffered.Peek(buffered.Reader.Buffered())
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err == nil {
		_, err = conn.Write(switching(r.Header.Get("Sec-WebSocket-Key"), protocol))
	}
	if err != nil { // the client's: it has gone
		_ = conn.Close()
		return
	}
	s.attach(conn, broker.Attachment{Peer: *peer, WebSocket: true, Early: early})
}

// peer is who wants to connect.
func (s *WebSocket) peer(r *http.Request) (*broker.Peer, error) {
	peer := peerOf(r)
	if id := IdentityOf(r.Context()); id != nil {
		peer.Identity = id
		peer.Until = s.now().Add(webSocketLife)
		if !id.ExpiresAt.IsZero() && id.ExpiresAt.Before(peer.Until) {
			peer.Until = id.ExpiresAt
		}
		return &peer, nil
	}
	peer.Certificate = s.certificateID(r)
	switch {
	case peer.Certificate == "":
		s.refused(r, "", s.stranger(r))
	case !sameOrigin(r): // a browser shows its user's certificate to every page's WebSocket
		s.refused(r, peer.Certificate, "a page of another origin asked: "+clipped(r.Header.Get("Origin")))
	default:
		return &peer, nil
	}
	return nil, refuse("ForbiddenException", http.StatusForbidden,
		"Forbidden: MQTT over WebSocket takes a request that is signed with SigV4 for "+mqttScope+", or on the device port a client certificate.")
}

// refused tells the operator why.
func (s *WebSocket) refused(r *http.Request, id iot.CertificateID, why string) {
	s.log.LogAttrs(r.Context(), slog.LevelWarn, "websocket refused", slog.String("certificate", string(id)),
		slog.String("source", r.RemoteAddr), slog.String("explanation", why))
}

// sameOrigin reports whether a request comes from no page, or from one of this
// very port.
func sameOrigin(r *http.Request) bool {
	lines := r.Header["Origin"]
	if len(lines) == 0 {
		return true
	}
	u, err := url.Parse(lines[0])
	return err == nil && len(lines) == 1 && u.Scheme == "https" && strings.EqualFold(withPort(u.Host), withPort(r.Host))
}

// withPort adds the port of HTTPS to a host that has none.
func withPort(host string) string {
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	return host + ":443"
}

// checkUpgrade checks the opening handshake, and picks its subprotocol.
//
// Source: RFC 6455, sections 4.2.1 and 4.2.2; MQTT 5.0, section 6.
func checkUpgrade(r *http.Request) (protocol string, err error) {
	switch {
	case r.Method != http.MethodGet:
		return "", refuse("MethodNotAllowedException", http.StatusMethodNotAllowed, "A WebSocket is opened with GET.")
	case r.ProtoMajor != 1 || r.ProtoMinor < 1 || !websocket(r):
		return "", refuse("UpgradeRequiredException", http.StatusUpgradeRequired, "This is MQTT over WebSocket: the request must ask for an upgrade to websocket over HTTP/1.1.")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return "", badUpgrade("The opening handshake of a WebSocket has no body.")
	}
	if v := r.Header["Sec-Websocket-Version"]; len(v) != 1 || v[0] != webSocketVersion {
		return "", refuse("UpgradeRequiredException", http.StatusUpgradeRequired, "Sec-WebSocket-Version must be 13.")
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return "", badUpgrade("There must be one Sec-WebSocket-Key.")
	}
	if key, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(key) != 16 {
		return "", badUpgrade("Sec-WebSocket-Key must be 16 bytes in base64.")
	}
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(line, ",") {
			switch p = strings.TrimSpace(p); p {
			case "mqtt", "mqttv3.1":
				return p, nil
			}
		}
	}
	return "", badUpgrade("Sec-WebSocket-Protocol must offer mqtt.")
}

func badUpgrade(why string) error {
	return refuse("InvalidRequestException", http.StatusBadRequest, why)
}

// switching is the answer that ends the opening handshake.
func switching(key, protocol string) []byte {
	sum := sha1.Sum([]byte(key + webSocketGUID)) //nolint:gosec // see its import
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\nSec-WebSocket-Protocol: " + protocol + "\r\n\r\n")
}

// refuse answers with an error that this handler made.
func (s *WebSocket) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := err.(*wireError) //nolint:errorlint,forcetypeassert // made here, never wrapped
	h := w.Header()
	switch e.Status {
	case http.StatusUpgradeRequired:
		h["Sec-WebSocket-Version"] = []string{webSocketVersion}
		if r.ProtoMajor == 1 {
			h["Upgrade"], h["Connection"] = []string{"websocket"}, []string{"Upgrade"}
		}
	case http.StatusMethodNotAllowed:
		h["Allow"] = []string{http.MethodGet}
	}
	answer(w, e.Status, e.Code, messageBody(e.Message))
}
