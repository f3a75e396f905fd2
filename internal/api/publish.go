package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iotdata"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

const topicsPath = "/topics/"

// PublishOptions is what a PublishEndpoint is made of.
type PublishOptions struct {
	Access      broker.Access
	Messages    Messages
	PublicHosts []string // the names, with all below them, that a client may ask for by SNI
	Observer    Observer // nil counts nothing
	Tracer      Tracer   // nil traces nothing
	Logger      *slog.Logger
	Now         func() time.Time
	Rand        io.Reader // trace ids
}

// PublishEndpoint serves POST /topics/TOPIC?qos=N on the device port. It needs
// a TLS server that asks for a client certificate, and judges the certificate
// on every request. There is no client ID, and so no thing to policies.
type PublishEndpoint struct {
	deviceCertificates
	access   broker.Access
	messages Messages
	binding  *awsapi.Binding
	errors   errorCodes
	observer Observer
	tracer   Tracer // nil traces nothing
	log      *slog.Logger
	now      func() time.Time
	rand     io.Reader
}

// NewPublishEndpoint returns the endpoint.
func NewPublishEndpoint(o PublishOptions) *PublishEndpoint {
	e := &PublishEndpoint{
		deviceCertificates: newDeviceCertificates(o.PublicHosts),
		access:             o.Access, messages: o.Messages, errors: errorTable(),
		binding:  awsapi.NewRouter(m.Service()).Binding("Publish"),
		observer: o.Observer, tracer: o.Tracer, log: o.Logger, now: o.Now, rand: o.Rand,
	}
	if e.observer == nil {
		e.observer = noObserver{}
	}
	return e
}

// ServeHTTP answers one request.
func (e *PublishEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := e.now()
	status := http.StatusOK
	id, err := iot.NewUUID(e.rand)
	if err == nil {
		// As AWS writes it: Set would write X-Amzn-Requestid.
		w.Header()["x-amzn-RequestId"] = []string{id}
		err = e.publish(r)
	}
	if err == nil {
		writePublished(w, id)
	} else {
		status = e.refuse(w, r, id, err)
	}
	end := e.now()
	e.observer.Observe(dataService, "Publish", status, end.Sub(start))
	traceDevice(e.tracer, w, r, dataService, "Publish", status, start, end)
}

// publish judges before it reads the payload.
func (e *PublishEndpoint) publish(r *http.Request) error {
	rest, _ := strings.CutPrefix(awsapi.RawPath(r), topicsPath)
	topic, ok := awsapi.DecodePath(rest)
	if !ok || topic == "" {
		return refuse("ResourceNotFoundException", http.StatusNotFound, "Not Found")
	}
	if r.Method != http.MethodPost {
		return refuse("MethodNotAllowedException", http.StatusMethodNotAllowed, "Method Not Allowed")
	}
	var in m.PublishInput
	if err := e.binding.Decode(r, nil, awsapi.PathParams{{Name: "topic", Value: topic}}, &in); err != nil {
		return err
	}
	peer := peerOf(r)
	err := e.authorize(r, &peer, topic, deref(in.Retain))
	if err != nil {
		return err
	}
	if in.Payload, err = readWhole(r, maxPayload); err != nil {
		return err
	}
	message, err := messageOf(&in)
	if err != nil {
		return err
	}
	message.From = &peer
	return e.messages.Publish(r.Context(), message)
}

// authorize asks the policies of the certificate, as the broker does for a
// client that is connected.
func (e *PublishEndpoint) authorize(r *http.Request, peer *broker.Peer, topic string, retain bool) error {
	if peer.Certificate = e.certificateID(r); peer.Certificate == "" {
		return e.stopped(r, topic, "", e.stranger(r))
	}
	principal, err := e.access.Principal(r.Context(), peer, "")
	if err != nil {
		if known, ok := errors.AsType[*iot.Error](err); ok && known.Kind == iot.KindDenied {
			return e.stopped(r, topic, peer.Certificate, known.Error())
		}
		return err
	}
	asks := []broker.Request{{Action: broker.Publish, Name: topic}}
	if retain {
		asks = append(asks, broker.Request{Action: broker.RetainPublish, Name: topic})
	}
	for i := range asks {
		if !principal.Decide(&asks[i]).Allowed {
			principal.Deny(&asks[i], "")
			return forbidden()
		}
	}
	return nil
}

func forbidden() error { return iot.Errorf(iot.KindDenied, "", "Forbidden") }

// stopped tells the operator of a client that no policy was asked about.
func (e *PublishEndpoint) stopped(r *http.Request, topic string, id iot.CertificateID, why string) error {
	action := broker.Publish.String()
	e.observer.Deny(dataService, action)
	e.log.LogAttrs(r.Context(), slog.LevelWarn, "publish refused",
		slog.String("certificate", string(id)), slog.String("action", action), slog.String("resource", "topic/"+clipped(topic)),
		slog.String("source", r.RemoteAddr), slog.String("explanation", why))
	return forbidden()
}

// refuse answers with an error and returns its status.
func (e *PublishEndpoint) refuse(w http.ResponseWriter, r *http.Request, id string, err error) int {
	described, callers := e.errors.describe(e.binding.Service, r, err)
	if !callers && !errors.Is(r.Context().Err(), context.Canceled) {
		e.log.LogAttrs(r.Context(), slog.LevelError, "publish failed", slog.String("request_id", id), slog.Any("error", err))
	}
	if described.Status == http.StatusMethodNotAllowed {
		w.Header()["Allow"] = []string{http.MethodPost}
	}
	described.Fields = append(described.Fields, traceID(id))
	delete(w.Header(), "x-amzn-RequestId") // WriteError sets it, in Go's spelling
	_ = awsapi.WriteError(w, e.binding.Service, id, described)
	return described.Status
}
