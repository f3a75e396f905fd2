package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// CredentialProvider trades certificates for credentials; sts.Provider is one.
type CredentialProvider interface {
	Credentials(ctx context.Context, d sts.Device, thingName string, hasThing bool, alias string) (sts.Credentials, error)
}

// CredentialOptions is what a CredentialEndpoint is made of.
type CredentialOptions struct {
	Provider    CredentialProvider
	PublicHosts []string // the names, with all below them, that a client may ask for by SNI
	Observer    Observer // nil counts nothing
	Tracer      Tracer   // nil traces nothing
	Logger      *slog.Logger
	Now         func() time.Time
	Rand        io.Reader // request ids
}

// CredentialEndpoint serves GET /role-aliases/ALIAS/credentials on the device
// port. It needs a TLS server that asks for a client certificate, and judges
// the certificate on every request: the handshake proves only who holds its key.
type CredentialEndpoint struct {
	deviceCertificates
	provider CredentialProvider
	observer Observer
	tracer   Tracer // nil traces nothing
	log      *slog.Logger
	now      func() time.Time
	rand     io.Reader
	buffers  sync.Pool
}

// NewCredentialEndpoint returns the endpoint. A server should have its
// ConnContext too, which spares it the fingerprint of every request but the first.
func NewCredentialEndpoint(o CredentialOptions) *CredentialEndpoint {
	e := &CredentialEndpoint{
		deviceCertificates: newDeviceCertificates(o.PublicHosts),
		provider:           o.Provider, observer: o.Observer, tracer: o.Tracer, log: o.Logger, now: o.Now, rand: o.Rand,
	}
	if e.observer == nil {
		e.observer = noObserver{}
	}
	e.buffers.New = func() any {
		b := make([]byte, 0, 3<<10)
		return &b
	}
	return e
}

// ServeHTTP answers one request.
func (e *CredentialEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := e.now()
	status := e.serve(w, r)
	end := e.now()
	e.observer.Observe("credentials", "AssumeRoleWithCertificate", status, end.Sub(start))
	traceDevice(e.tracer, w, r, "credentials", "AssumeRoleWithCertificate", status, start, end)
}

func (e *CredentialEndpoint) serve(w http.ResponseWriter, r *http.Request) int {
	id, err := iot.NewUUID(e.rand)
	if err != nil {
		return e.fail(w, r, err)
	}
	// As AWS writes it: Set would write X-Amzn-Requestid.
	w.Header()["x-amzn-RequestId"] = []string{id}
	// Devices correct their clocks by it, so it must be the time that sessions end by.
	w.Header()["Date"] = []string{e.now().UTC().Format(http.TimeFormat)}
	alias, ok := aliasOf(r.URL.Path)
	if !ok {
		return answer(w, http.StatusNotFound, "ResourceNotFoundException", `{"message":"Not Found","traceId":"`+id+`"}`)
	}
	if r.Method != http.MethodGet {
		w.Header()["Allow"] = []string{http.MethodGet}
		return answer(w, http.StatusMethodNotAllowed, "MethodNotAllowedException", `{"message":"Method Not Allowed"}`)
	}
	d := sts.Device{Certificate: e.certificateID(r)}
	if d.Certificate == "" {
		e.logStranger(r, alias)
		return answer(w, http.StatusForbidden, accessDenied, `{"message":"`+sts.CertificateMessage+`"}`)
	}
	d.SourceIP, d.SourceVPCE = sourceOf(r)
	names := r.Header["X-Amzn-Iot-Thingname"]
	name := ""
	if len(names) == 1 { // said twice, it is said wrong
		name = names[0]
	}
	cred, err := e.provider.Credentials(r.Context(), d, name, len(names) > 0, alias)
	if err != nil {
		return e.fail(w, r, err)
	}
	return e.grant(w, &cred)
}

// logStranger tells the operator what the provider never hears of.
func (e *CredentialEndpoint) logStranger(r *http.Request, alias string) {
	e.log.LogAttrs(r.Context(), slog.LevelWarn, "credentials refused",
		slog.String("certificate", ""), slog.String("thing", clipped(r.Header.Get("X-Amzn-Iot-Thingname"))),
		slog.String("action", "iot:AssumeRoleWithCertificate"), slog.String("resource", "rolealias/"+clipped(alias)),
		slog.String("source", r.RemoteAddr), slog.String("answer", sts.CertificateMessage), slog.String("explanation", e.stranger(r)))
}

// aliasOf returns ALIAS of /role-aliases/ALIAS/credentials.
func aliasOf(path string) (string, bool) {
	s, ok := strings.CutPrefix(path, "/role-aliases/")
	if !ok {
		return "", false
	}
	s, ok = strings.CutSuffix(s, "/credentials")
	return s, ok && s != "" && strings.IndexByte(s, '/') < 0
}

const accessDenied = "AccessDeniedException"

// grant writes the credentials. Nothing in them needs escaping.
func (e *CredentialEndpoint) grant(w http.ResponseWriter, c *sts.Credentials) int {
	p := e.buffers.Get().(*[]byte) //nolint:forcetypeassert // what New puts there
	b := append((*p)[:0], `{"credentials":{"accessKeyId":"`...)
	b = append(b, c.AccessKeyID...)
	b = append(b, `","secretAccessKey":"`...)
	b = append(b, c.SecretAccessKey...)
	b = append(b, `","sessionToken":"`...)
	b = append(b, c.SessionToken...)
	b = append(b, `","expiration":"`...)
	b = c.Expiration.AppendFormat(b, "2006-01-02T15:04:05Z")
	b = append(b, `"}}`...)
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Cache-Control"] = []string{"no-store"}
	_, _ = w.Write(b) //nolint:gosec // JSON of what we made ourselves
	clear(b)          // secrets do not wait in a pool
	*p = b
	e.buffers.Put(p)
	return http.StatusOK
}

// fail maps an error of the provider to its answer.
func (e *CredentialEndpoint) fail(w http.ResponseWriter, r *http.Request, err error) int {
	if known, ok := errors.AsType[*iot.Error](err); ok {
		body := messageBody(known.Message)
		switch known.Kind { //nolint:exhaustive // the provider answers no others
		case iot.KindDenied:
			return answer(w, http.StatusForbidden, accessDenied, body)
		case iot.KindNotFound:
			return answer(w, http.StatusNotFound, "ResourceNotFoundException", body)
		case iot.KindInvalid:
			return answer(w, http.StatusBadRequest, "InvalidRequestException", body)
		}
	}
	if r.Context().Err() == nil {
		e.log.LogAttrs(r.Context(), slog.LevelError, "credential request failed", slog.Any("error", err))
	}
	return answer(w, http.StatusInternalServerError, "InternalFailureException", `{"message":"Internal Failure"}`)
}

func messageBody(message string) string {
	b, err := json.Marshal(struct {
		Message string `json:"message"`
	}{message})
	if err != nil { // a string always encodes
		return "{}"
	}
	return string(b)
}

func answer(w http.ResponseWriter, status int, errorType, body string) int {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["x-amzn-ErrorType"] = []string{errorType}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	return status
}
