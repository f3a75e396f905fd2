package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// Authenticator tells who holds an access key, and whether what is behind it
// still stands. sts.Authenticator is one.
type Authenticator interface {
	Authenticate(ctx context.Context, accessKeyID, sessionToken string) (*sts.Identity, error)
	Recheck(ctx context.Context, id *sts.Identity) (*sts.Identity, error)
}

// Observer counts what happened.
type Observer interface {
	Observe(service, operation string, status int, d time.Duration)
	Deny(service, action string)
}

// Uses notes when an access key or a role was last used.
type Uses interface {
	Used(id, service, region string, at time.Time)
}

// Denials seals explanations for DecodeAuthorizationMessage. Encode answers
// false for one that is too long.
type Denials interface {
	Encode(plain []byte) (text string, fits bool, err error)
}

type resourcePolicy = func(ctx context.Context, resource string) (*policy.Policy, error)

// Options is what a Handler is made of.
type Options struct {
	Services      []Service
	Authenticator Authenticator
	Account       iot.AccountID
	Region        string
	PublicHosts   []string

	Own  http.Handler // unsigned requests below /_sekisho/; nil answers 404
	MQTT http.Handler // WebSocket upgrades of /mqtt; nil answers 501

	// Room is asked before an operation that adds something is run; its error is
	// the answer. nil means that there always is room.
	Room func() error

	Observer Observer // nil counts nothing
	Tracer   Tracer   // nil traces nothing
	Uses     Uses     // nil notes nothing
	Denials  Denials  // nil encodes none
	Logger   *slog.Logger
	Now      func() time.Time
	Rand     io.Reader // request ids
}

// Handler serves the AWS APIs, S3 and what is ours on the API port.
type Handler struct {
	services map[string]*boundService // by the name in the credential scope
	auth     Authenticator
	verifier *awsapi.Verifier
	errors   errorCodes
	hosts    hosts
	account  iot.AccountID
	region   string
	own      http.Handler
	mqtt     http.Handler
	room     func() error
	observer Observer
	tracer   Tracer // nil traces nothing
	uses     Uses
	denials  Denials
	log      *slog.Logger
	now      func() time.Time
	rand     io.Reader
}

// New returns the handler of all services. It refuses rows that the model does
// not know or that do not fit it.
func New(o Options) (*Handler, error) {
	services, err := bindAll(o.Services)
	if err != nil {
		return nil, fmt.Errorf("operation table: %w", err)
	}
	h := &Handler{
		services: services,
		auth:     o.Authenticator,
		verifier: awsapi.NewVerifier(),
		errors:   errorTable(),
		hosts:    newHosts(o.PublicHosts, o.Region),
		account:  o.Account,
		region:   o.Region,
		own:      o.Own,
		mqtt:     o.MQTT,
		room:     o.Room,
		observer: o.Observer,
		tracer:   o.Tracer,
		uses:     o.Uses,
		denials:  o.Denials,
		log:      o.Logger,
		now:      o.Now,
		rand:     o.Rand,
	}
	if h.own == nil {
		h.own = http.NotFoundHandler()
	}
	if h.room == nil {
		h.room = func() error { return nil }
	}
	if h.observer == nil {
		h.observer = noObserver{}
	}
	return h, nil
}

type noObserver struct{}

func (noObserver) Observe(string, string, int, time.Duration) {}
func (noObserver) Deny(string, string)                        {}

// OperationState is one line of the compatibility table.
type OperationState struct {
	Service, Operation string
	Built              bool
}

// Operations lists every operation of every known service and whether one of
// the given services has a row for it, by service and name.
func Operations(services []Service) ([]OperationState, error) {
	bound, err := bindAll(services)
	if err != nil {
		return nil, err
	}
	delete(bound, mqttScope)
	var all []OperationState
	for _, scope := range slices.Sorted(maps.Keys(bound)) {
		b := bound[scope]
		for i := range b.Operations {
			name := b.Operations[i].Name
			all = append(all, OperationState{b.Name, name, b.rows[name] != nil})
		}
		if b.Name == ownService {
			for _, key := range slices.Sorted(maps.Keys(b.rows)) {
				all = append(all, OperationState{b.Name, b.rows[key].Name, true})
			}
		}
	}
	return all, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.handle(w, r, h.serve) }

// DeviceMQTT serves /mqtt on the device port: a signed request as on the API
// port, and of no other service; an unsigned one is left to Options.MQTT, which
// knows what to make of its certificate.
func (h *Handler) DeviceMQTT() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.handle(w, r, h.serveHandshake) })
}

func (h *Handler) handle(w http.ResponseWriter, r *http.Request, serve func(context.Context, *Call) error) {
	ctx := r.Context()
	answer := &answerWriter{ResponseWriter: w}
	r, body := withBody(r)
	c := &Call{HTTP: r, Writer: answer, Account: h.account, Region: h.region, Now: h.now(), handler: h, received: body}
	defer h.finish(ctx, c, answer)
	// Clients correct their clocks by it, so it must be the time that signatures are judged at.
	w.Header()["Date"] = []string{c.Now.UTC().Format(http.TimeFormat)}
	id, err := iot.NewUUID(h.rand)
	c.RequestID = id
	if err == nil {
		err = serve(ctx, c)
	}
	if err != nil {
		h.refuse(ctx, c, answer, err)
	}
}

// finish counts the answer and ends its span, and answers where a handler panicked.
func (h *Handler) finish(ctx context.Context, c *Call, answer *answerWriter) {
	defer func() {
		end := h.now()
		h.observer.Observe(c.Service, c.Operation, answer.status, end.Sub(c.Now))
		h.endSpan(ctx, c, answer.status, end)
	}()
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p)
	default:
		h.refuse(ctx, c, answer, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
	}
}

// refuse answers with an error, or cuts the connection where an answer has
// begun: what the client has must not look whole.
func (h *Handler) refuse(ctx context.Context, c *Call, answer *answerWriter, err error) {
	if c.service == nil {
		c.setService(h.guess(c.HTTP))
	}
	described, callers := h.errors.describe(c.service.Service, c.HTTP, err)
	h.noteFailure(c, described.Code)
	if answer.status != 0 {
		h.log.LogAttrs(ctx, slog.LevelWarn, "answer cut short", c.failureAttrs(err)...)
		panic(http.ErrAbortHandler)
	}
	if !callers && !gone(ctx) {
		h.log.LogAttrs(ctx, slog.LevelError, "request failed", c.failureAttrs(err)...)
	}
	switch c.Service {
	case "s3":
		described.Resource = c.HTTP.URL.Path
	case dataService:
		described.Fields = append(described.Fields, traceID(c.RequestID))
	}
	known := c.Identity != nil
	c.received.drain(known)
	if c.HTTP.ProtoMajor == 1 && c.received.eager(known) {
		gently(ctx, answer, func(w http.ResponseWriter) { _ = awsapi.WriteError(w, c.service.Service, c.RequestID, described) })
		return
	}
	_ = awsapi.WriteError(answer, c.service.Service, c.RequestID, described) // an error is the client's: it has gone
}

func (c *Call) failureAttrs(err error) []slog.Attr {
	return []slog.Attr{
		slog.String("request_id", c.RequestID), slog.String("service", c.Service),
		slog.String("operation", c.Operation), slog.Any("error", err),
	}
}

// gone reports whether the client went away.
func gone(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

func (c *Call) setService(b *boundService) { c.service, c.Service = b, b.Name }

// serve finds out what a request is and runs its row.
func (h *Handler) serve(ctx context.Context, c *Call) error {
	signature, err := awsapi.ParseSignature(c.HTTP)
	if err != nil {
		return err
	}
	if signature == nil {
		return h.serveUnsigned(ctx, c)
	}
	body, payload, err := h.authenticate(ctx, c, signature)
	if err != nil {
		return err
	}
	c.SignedAt = signature.Time
	if c.Service == dataService && awsapi.RawPath(c.HTTP) == mqttPath {
		return h.serveMQTT(ctx, c)
	}
	return h.dispatch(ctx, c, request{signature: signature, payload: payload, body: body})
}

// serveUnsigned tells an unsigned request by X-Amz-Target, then by a form's
// Action, then by our own paths; anything else is anonymous S3.
func (h *Handler) serveUnsigned(ctx context.Context, c *Call) error {
	r := c.HTTP
	_, virtualHost := h.BucketFromHost(r.Host)
	path := awsapi.RawPath(r)
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		c.setService(h.guess(r))
		return h.serveOpen(ctx, c)
	case isForm(r):
		return h.serveForm(ctx, c)
	case len(path) >= len(ownPath) && path[:len(ownPath)] == ownPath && !virtualHost:
		return h.serveOwn(c)
	case path == mqttPath && websocket(r):
		c.setService(h.services[mqttScope])
		return h.serveMQTT(ctx, c)
	}
	c.setService(h.services["s3"])
	payload, err := awsapi.PayloadOf(r, nil)
	if err != nil {
		return err
	}
	return h.dispatch(ctx, c, request{payload: payload})
}

// serveForm serves an unsigned call of a query service.
func (h *Handler) serveForm(ctx context.Context, c *Call) error {
	c.setService(h.services["sts"])
	body, err := readWhole(c.HTTP, defaultBody)
	if err != nil {
		return err
	}
	b, binding := h.formService(c.HTTP, body)
	if b == nil {
		return missingAuthentication(awsapi.Query)
	}
	c.setService(b)
	if !binding.NoAuth {
		return missingAuthentication(b.Protocol)
	}
	return h.dispatch(ctx, c, request{body: body})
}

// serveOpen serves an unsigned call that X-Amz-Target names.
func (h *Handler) serveOpen(ctx context.Context, c *Call) error {
	binding, _, err := c.service.router.Match(c.HTTP, "/", nil)
	if err != nil || !binding.NoAuth {
		return missingAuthentication(c.service.Protocol)
	}
	body, err := readWhole(c.HTTP, c.service.maxBody)
	if err != nil {
		return err
	}
	return h.dispatch(ctx, c, request{body: body})
}

// serveOwn serves what is ours and needs no signature.
func (h *Handler) serveOwn(c *Call) error {
	c.setService(h.services[ownService])
	if _, row, _, err := h.route(c.service, c.HTTP, nil); err == nil && row != nil {
		return missingAuthentication(awsapi.RESTJSON)
	}
	h.own.ServeHTTP(c.Writer, c.HTTP)
	return nil
}

// serveHandshake serves what opens MQTT over WebSocket, and nothing else.
func (h *Handler) serveHandshake(ctx context.Context, c *Call) error {
	c.setService(h.services[mqttScope])
	signature, err := awsapi.ParseSignature(c.HTTP)
	if err != nil {
		return err
	}
	if signature == nil {
		return h.serveMQTT(ctx, c)
	}
	if h.services[signature.Service] != c.service {
		h.authenticationFailed(ctx, c, signature, fmt.Errorf("the signature is for service %q, this port takes %q", clipped(signature.Service), mqttScope))
		return badScope(c.service, fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", mqttScope))
	}
	if _, _, err := h.authenticate(ctx, c, signature); err != nil {
		return err
	}
	return h.serveMQTT(ctx, c)
}

type identityKey struct{}

// IdentityOf returns who signed the request that led to the MQTT handler, nil
// for an unsigned one.
func IdentityOf(ctx context.Context) *sts.Identity {
	id, _ := ctx.Value(identityKey{}).(*sts.Identity)
	return id
}

func (h *Handler) serveMQTT(ctx context.Context, c *Call) error {
	c.Operation = "Connect"
	if h.mqtt == nil {
		return refuse("NotImplemented", http.StatusNotImplemented, "MQTT over WebSocket is not served on this port.")
	}
	r := c.HTTP
	if c.Identity != nil {
		r = r.WithContext(context.WithValue(ctx, identityKey{}, c.Identity))
	}
	h.mqtt.ServeHTTP(c.Writer, r)
	return nil
}

// answerWriter remembers the status, 0 while nothing was sent.
type answerWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets net/http use sendfile for a file.
func (w *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return io.Copy(w.ResponseWriter, r)
}

// Hijack implements http.Hijacker: what becomes of the connection is no answer
// of HTTP but the switch of protocols.
func (w *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
