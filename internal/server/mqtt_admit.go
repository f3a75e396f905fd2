package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

// Why an MQTT connection is refused before its CONNECT, as the metrics have it.
const (
	refusedNoCertificate = "no_certificate"
	refusedUnknown       = "unknown_certificate"
	refusedUnusable      = "unusable_certificate"
	refusedForeignName   = "foreign_server_name"
	refusedFailure       = "server_error"
)

// admission judges who may knock at the broker: connections whose TLS handshake
// proved a certificate that is in use. What it may do there is for mqttAccess.
type admission struct {
	certificates *pki.Certificates
	hosts        []string                                                      // lower case; the names, with all below them, that a client may ask for by SNI
	publish      func(ctx context.Context, topic string, payload []byte) error // as the server itself
	refused      func(reason string)
	log          *slog.Logger
	now          func() time.Time
	told         tellings
}

// newAdmission fills in the hosts.
func newAdmission(a *admission, publicHosts []string) *admission {
	a.hosts = []string{DefaultHost}
	for _, h := range publicHosts {
		a.hosts = append(a.hosts, strings.ToLower(h))
	}
	return a
}

// peer returns who is behind a connection, false for nobody who may go on.
func (a *admission) peer(ctx context.Context, c *tls.Conn) (broker.Peer, bool) {
	state := c.ConnectionState()
	p := broker.Peer{DomainName: state.ServerName}
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		p.SourceIP = tcp.IP.String()
	}
	if len(state.PeerCertificates) == 0 {
		return p, a.refuse(ctx, &p, refusedNoCertificate, "the client showed no certificate")
	}
	p.Certificate = pki.CertificateID(state.PeerCertificates[0].Raw)
	if !a.ownName(state.ServerName) {
		return p, a.refuse(ctx, &p, refusedForeignName, "the client asked for a name that is not a --public-host: "+clipped(state.ServerName))
	}
	cert, err := a.certificates.Lookup(ctx, p.Certificate)
	switch {
	case iot.IsKind(err, iot.KindNotFound):
		return p, a.refuse(ctx, &p, refusedUnknown, a.enrol(ctx, &state))
	case err != nil:
		a.refused(refusedFailure)
		a.log.LogAttrs(ctx, slog.LevelError, "mqtt connection failed", slog.String("certificate", string(p.Certificate)), slog.Any("error", err))
		return p, false
	}
	if ok, why := cert.Usable(a.now()); !ok {
		if cert.Status == pki.PendingActivation {
			a.tellAgain(ctx, cert.ID)
		}
		return p, a.refuse(ctx, &p, refusedUnusable, why)
	}
	return p, true
}

// bound notes when a peer's certificate expires: its connection ends then.
// Whether it is any good is judged elsewhere.
func (a *admission) bound(ctx context.Context, p *broker.Peer) {
	if p.Certificate == "" {
		return
	}
	if cert, err := a.certificates.Lookup(ctx, p.Certificate); err == nil {
		p.Until = cert.NotAfter
	}
}

// refuse tells the operator what the client does not learn; it returns false.
func (a *admission) refuse(ctx context.Context, p *broker.Peer, reason, why string) bool {
	a.refused(reason)
	a.log.LogAttrs(ctx, slog.LevelWarn, "mqtt refused",
		slog.String("certificate", string(p.Certificate)), slog.String("action", broker.Connect.String()),
		slog.String("source", p.SourceIP), slog.String("explanation", why))
	return false
}

// ownName accepts our hosts, what is below them, and clients that send no name.
func (a *admission) ownName(name string) bool {
	if name == "" || net.ParseIP(name) != nil {
		return true
	}
	name = strings.ToLower(name)
	for _, h := range a.hosts {
		if name == h || strings.HasSuffix(name, "."+h) {
			return true
		}
	}
	return false
}

// clipped bounds what an outsider chose, for the log.
func clipped(s string) string {
	if len(s) > maxLogged {
		return strings.ToValidUTF8(s[:maxLogged], "") + "…"
	}
	return s
}

const maxLogged = 128
