package credential

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
)

// Paths of the container credentials endpoint.
const (
	Path           = "/credentials"
	GreengrassPath = "/2016-11-01/credentialprovider/" // what Greengrass components are made for
)

// Source gives sessions; Provider is one.
type Source interface {
	Get(ctx context.Context) (*Session, error)
}

// Handler is the container credentials endpoint of the AWS SDKs: GET with the
// token as Authorization header. Its answers are Greengrass's: 400 for another
// path, 405 for another method, 403 for another token; 504 where the server does
// not answer, and the server's own status where it refuses.
type Handler struct {
	source Source
	token  [sha256.Size]byte
}

// NewHandler returns the endpoint for those who know the token.
func NewHandler(s Source, token string) *Handler {
	return &Handler{source: s, token: sha256.Sum256([]byte(token))}
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.URL.Path != Path && r.URL.Path != GreengrassPath:
		fail(w, http.StatusBadRequest, "BadRequest", "there is nothing but "+Path+" and "+GreengrassPath)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "only GET is supported")
	case !h.knows(r.Header.Values("Authorization")):
		fail(w, http.StatusForbidden, "AccessDenied", "the Authorization header must be the token of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
	default:
		h.answer(w, r)
	}
}

// knows compares in a time that says nothing about the token, its length included.
func (h *Handler) knows(given []string) bool {
	if len(given) != 1 {
		return false
	}
	sum := sha256.Sum256([]byte(given[0]))
	return subtle.ConstantTimeCompare(sum[:], h.token[:]) == 1
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request) {
	s, err := h.source.Get(r.Context())
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		fail(w, refused.Status, "Refused", refused.Error())
		return
	}
	if errors.Is(err, ErrUnavailable) {
		fail(w, http.StatusGatewayTimeout, "Unavailable", err.Error())
		return
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, "InternalServerError", err.Error())
		return
	}
	b, err := s.ContainerJSON()
	if err != nil {
		fail(w, http.StatusInternalServerError, "InternalServerError", "the credentials cannot be encoded")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// fail answers as the SDKs read it.
func fail(w http.ResponseWriter, status int, code, message string) {
	b, err := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
	if err != nil { // strings always encode
		b = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
