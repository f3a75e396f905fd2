package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

const (
	skew   = 5 * time.Minute
	skewS3 = 15 * time.Minute

	handshakeSkew = 15 * time.Minute // browsers' clocks
)

// authenticate finds out who signed the request, and proves it. For all but S3
// it returns the body, which was read whole for its hash.
func (h *Handler) authenticate(ctx context.Context, c *Call, s *awsapi.Signature) (body []byte, payload awsapi.Payload, err error) {
	b := h.services[s.Service]
	if b == nil {
		c.setService(h.guess(c.HTTP))
		h.authenticationFailed(ctx, c, s, fmt.Errorf("the signature is for service %q, which is not served here", clipped(s.Service)))
		return nil, payload, badScope(c.service, fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", c.service.SigningName))
	}
	c.setService(b)
	if !h.acceptsRegion(b.Name, s.Region) {
		h.authenticationFailed(ctx, c, s, fmt.Errorf("the signature is for region %q, this server is %s", clipped(s.Region), h.region))
		return nil, payload, wrongRegion(b, s.Region, h.region)
	}
	if payload, err = awsapi.PayloadOf(c.HTTP, s); err != nil {
		return nil, payload, err
	}
	id, err := h.auth.Authenticate(ctx, s.AccessKeyID, s.SessionToken)
	if err != nil {
		h.authenticationFailed(ctx, c, s, err)
		return nil, payload, err
	}
	check := awsapi.Check{Secret: id.SecretAccessKey, Payload: payload.Hash, Now: c.Now, Skew: skew}
	if b.Name == "s3" {
		check.Skew = skewS3
	} else {
		if body, err = readWhole(c.HTTP, b.maxBody); err != nil {
			return nil, payload, err
		}
		if payload.Kind == awsapi.PayloadUndeclared {
			check.Payload = awsapi.HashOf(body)
		}
		if s.Service == mqttScope && awsapi.RawPath(c.HTTP) == mqttPath {
			check.Handshake, check.Skew = true, handshakeSkew
		}
	}
	if err := h.verifier.Verify(c.HTTP, s, check); err != nil {
		h.authenticationFailed(ctx, c, s, err)
		return nil, payload, err
	}
	if b.Name != "s3" && payload.Kind == awsapi.PayloadHashed && awsapi.HashOf(body) != payload.Hash {
		return nil, payload, &awsapi.RequestError{
			Reason: awsapi.ReasonPayloadHash, Message: "The value of x-amz-content-sha256 is not the hash of the body.",
		}
	}
	c.Identity = id
	h.noteUse(id, s, c.Now)
	return body, payload, nil
}

// noteUse notes the use of an access key, or of a role by one of its sessions.
func (h *Handler) noteUse(id *sts.Identity, s *awsapi.Signature, at time.Time) {
	if h.uses == nil {
		return
	}
	switch id.Kind {
	case sts.LongTerm:
		h.uses.Used(id.AccessKeyID, s.Service, s.Region, at)
	case sts.RoleSession:
		role, _, _ := strings.Cut(id.Principal.UserID, ":")
		h.uses.Used(role, s.Service, s.Region, at)
	case sts.UserSession, sts.FederatedSession:
	}
}

// authenticationFailed tells the operator why; the access key id is no secret.
func (h *Handler) authenticationFailed(ctx context.Context, c *Call, s *awsapi.Signature, err error) {
	h.log.LogAttrs(ctx, slog.LevelWarn, "authentication failed",
		slog.String("request_id", c.RequestID), slog.String("service", c.Service),
		slog.String("method", clipped(c.HTTP.Method)), slog.String("path", clipped(c.HTTP.URL.Path)),
		slog.String("access_key_id", clipped(s.AccessKeyID)), slog.String("source", c.HTTP.RemoteAddr),
		slog.Any("reason", err))
}

// readWhole reads a body of at most limit bytes, without trusting the length
// that the client declares.
func readWhole(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, &awsapi.RequestError{Reason: awsapi.ReasonIncomplete, Message: "The request body terminated unexpectedly", Err: err}
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return &awsapi.DecodeError{Fault: awsapi.FaultTooLarge, Message: fmt.Sprintf("Request body is larger than %d bytes", limit)}
}
