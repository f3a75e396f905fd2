package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

// registeredTopic is what the event of a certificate that registered itself is
// published on, with the id of its CA certificate behind it.
//
// See https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html.
const registeredTopic = "$aws/events/certificates/registered/"

// registeredEvent is its payload. Times are in milliseconds, the second one as
// text, as AWS has it.
type registeredEvent struct {
	CertificateID         string `json:"certificateId"`
	CACertificateID       string `json:"caCertificateId"`
	Timestamp             int64  `json:"timestamp"`
	CertificateStatus     string `json:"certificateStatus"`
	AWSAccountID          string `json:"awsAccountId"`
	RegistrationTimestamp string `json:"certificateRegistrationTimestamp"`
}

// arrive lets the certificate of a connection register itself where it is
// unknown. What speaks HTTP is judged later, on every request.
func (a *admission) arrive(ctx context.Context, c *tls.Conn) {
	state := c.ConnectionState()
	if len(state.PeerCertificates) == 0 || !a.ownName(state.ServerName) {
		return
	}
	p := broker.Peer{Certificate: pki.CertificateID(state.PeerCertificates[0].Raw)}
	switch cert, err := a.certificates.Lookup(ctx, p.Certificate); {
	case iot.IsKind(err, iot.KindNotFound):
		a.enrol(ctx, &state)
	case err == nil && cert.Status == pki.PendingActivation:
		a.tellAgain(ctx, cert.ID)
	}
}

// enrol tries just-in-time registration for a certificate that nobody
// registered. It returns why the connection is refused all the same.
func (a *admission) enrol(ctx context.Context, state *tls.ConnectionState) string {
	cert := state.PeerCertificates[0]
	e, err := a.certificates.Enrol(ctx, cert)
	switch {
	case err == nil:
	case iot.IsKind(err, iot.KindNotFound):
		return "the certificate is not registered"
	case iot.IsKind(err, iot.KindExists): // on another connection, at this moment
		return "the certificate is " + string(pki.PendingActivation)
	default:
		a.log.LogAttrs(ctx, slog.LevelWarn, "certificate may not register itself",
			slog.String("certificate", string(pki.CertificateID(cert.Raw))), slog.String("issuer", clipped(cert.Issuer.String())), slog.Any("error", err))
		return "the certificate is not registered, and may not register itself"
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "certificate registered itself",
		slog.String("certificate", string(e.ID)), slog.String("ca_certificate", string(e.CAID)),
		slog.String("subject", clipped(cert.Subject.String())), slog.String("status", string(e.Status)))
	a.told.due(e.ID, a.now())
	a.tell(context.WithoutCancel(ctx), &e)
	return "the certificate has registered itself, and is " + string(e.Status)
}

// tellAgain publishes the event anew where a certificate that registered itself
// knocks and was not activated yet: who should have done it may not have been
// there. It is at most once a minute.
func (a *admission) tellAgain(ctx context.Context, id iot.CertificateID) {
	if !a.told.due(id, a.now()) {
		return
	}
	e, err := a.certificates.Pending(ctx, id)
	switch {
	case err == nil:
		a.tell(context.WithoutCancel(ctx), &e)
	case !iot.IsKind(err, iot.KindNotFound):
		a.log.LogAttrs(ctx, slog.LevelError, "a certificate that waits for its activation could not be read",
			slog.String("certificate", string(id)), slog.Any("error", err))
	}
}

// tellings remember which certificates were told of lately.
type tellings struct {
	mu   sync.Mutex // guards last
	last map[iot.CertificateID]time.Time
}

const (
	tellEvery = time.Minute
	maxTold   = 10_000
)

// due reports whether it is time to tell of a certificate, and takes it as told.
func (t *tellings) due(id iot.CertificateID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.last[id]; ok && now.Sub(last) < tellEvery {
		return false
	}
	if t.last == nil || len(t.last) >= maxTold {
		t.last = map[iot.CertificateID]time.Time{}
	}
	t.last[id] = now
	return true
}

// tellTimeout bounds how long an event may take to get on disk.
const tellTimeout = 10 * time.Second

// tell publishes the event that has the certificate activated.
func (a *admission) tell(ctx context.Context, e *pki.Enrolment) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	b, err := json.Marshal(registeredEvent{
		CertificateID: string(e.ID), CACertificateID: string(e.CAID), Timestamp: a.now().UnixMilli(),
		CertificateStatus: string(e.Status), AWSAccountID: string(e.Owner), RegistrationTimestamp: strconv.FormatInt(e.CreatedAt.UnixMilli(), 10),
	})
	if err == nil {
		err = a.publish(ctx, registeredTopic+string(e.CAID), b)
	}
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelError, "the event of a certificate that registered itself could not be published",
			slog.String("certificate", string(e.ID)), slog.Any("error", err))
	}
}
