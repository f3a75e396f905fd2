package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

type sourceVpceKey struct{}

// WithSourceVpce marks the connections of a listener of the closed network.
// Their requests carry aws:SourceVpce and no aws:SourceIp; a header never says
// where a request came from.
func WithSourceVpce(ctx context.Context, endpointID string) context.Context {
	return context.WithValue(ctx, sourceVpceKey{}, endpointID)
}

// requestKeys answers the condition keys of a request: what the connection and
// the clock say first, then what the operation adds, then who asks.
type requestKeys struct {
	call                *Call
	extra               policy.Keys
	sourceIP, vpce      string
	currentTime, epoch  string
	requestedRegion     string
	secure, hasIdentity bool
}

func (k *requestKeys) init(c *Call) {
	r := c.HTTP
	k.call, k.secure, k.hasIdentity = c, r.TLS != nil, c.Identity != nil
	k.sourceIP = sourceIP(r)
	k.vpce, _ = r.Context().Value(sourceVpceKey{}).(string)
	k.requestedRegion = c.Region
	if c.Service == "iam" {
		k.requestedRegion = globalRegion
	}
}

// sourceIP is the client's address, "" where the connection has none. The zone
// of a link-local one is ours and not the client's.
func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// Lookup implements policy.Keys.
func (k *requestKeys) Lookup(key string) policy.Values {
	switch key {
	case "aws:sourceip":
		if k.vpce != "" {
			return policy.Absent("the request came through the closed network")
		}
		return headerValue(k.sourceIP, "the connection has no address")
	case "aws:sourcevpce":
		return headerValue(k.vpce, "the request came through a public listener")
	case "aws:securetransport":
		return policy.One(strconv.FormatBool(k.secure))
	case "aws:currenttime":
		if k.currentTime == "" {
			k.currentTime = k.call.Now.UTC().Format(time.RFC3339)
		}
		return policy.One(k.currentTime)
	case "aws:epochtime":
		if k.epoch == "" {
			k.epoch = strconv.FormatInt(k.call.Now.Unix(), 10)
		}
		return policy.One(k.epoch)
	case "aws:useragent":
		return headerValue(k.call.HTTP.UserAgent(), "the request has no User-Agent")
	case "aws:referer":
		return headerValue(k.call.HTTP.Referer(), "the request has no Referer")
	case "aws:requestedregion":
		return policy.One(k.requestedRegion)
	case "aws:viaawsservice":
		return policy.One("false")
	}
	var none policy.Values
	if k.extra != nil {
		if none = k.extra.Lookup(key); none.Set {
			return none
		}
	}
	if k.hasIdentity {
		if v := k.call.Identity.Lookup(key); v.Set || none.Why == "" {
			return v
		}
	}
	return none
}

func headerValue(s, why string) policy.Values {
	if s == "" {
		return policy.Absent(why)
	}
	return policy.One(s)
}

// Authorize checks one more permission of the caller inside a handler:
// iam:PassRole, a copy's source, each key of a multiple deletion. A denial is
// logged with its explanation; the error says to the caller what AWS would.
func (c *Call) Authorize(ctx context.Context, action, resource string, extra policy.Keys) error {
	request := policy.Request{Action: action, Resource: resource, Keys: &c.keys}
	c.keys.extra = extra
	anonymous := policy.Grants{}
	grants := &anonymous
	if c.Identity != nil {
		request.Principal, grants = c.Identity.Principal, &c.Identity.Grants
	} else {
		request.Principal.Anonymous = true
	}
	grants.Resource = nil
	if c.service.ResourcePolicy != nil {
		p, err := c.service.ResourcePolicy(ctx, resource)
		if err != nil {
			return fmt.Errorf("policy of %s: %w", resource, err)
		}
		grants.Resource = p
	}
	allowed := grants.Authorize(&request).Allowed()
	if c.unread != nil {
		return fmt.Errorf("condition keys of %s: %w", resource, c.unread)
	}
	if allowed {
		if c.service.Name == "s3" {
			c.granted = append(c.granted, permission{action, resource, extra})
		}
		return nil
	}
	return c.denied(ctx, grants, &request)
}

// couldNotRead notes that a condition key could not be read. What is decided
// without it does not count, since a Deny may have waited for it.
func (c *Call) couldNotRead(err error) {
	if err != nil && !iot.IsKind(err, iot.KindNotFound) && !iot.IsKind(err, iot.KindInvalid) {
		c.unread = err
	}
}

// mustKnow returns a resource, and notes why it could not be read: what is
// decided about the name alone does not count, since a path belongs to it.
func (c *Call) mustKnow(resource string, err error) string {
	c.couldNotRead(err)
	return resource
}

func (c *Call) denied(ctx context.Context, grants *policy.Grants, request *policy.Request) error {
	x := grants.Explain(request)
	c.handler.observer.Deny(c.Service, request.Action)
	c.handler.log.LogAttrs(ctx, slog.LevelWarn, "request denied",
		slog.String("request_id", c.RequestID),
		slog.String("principal", request.Principal.String()),
		slog.String("action", request.Action),
		slog.String("resource", request.Resource),
		slog.String("source", c.HTTP.RemoteAddr),
		slog.String("explanation", x.String()))
	encoded, err := c.encodeDenial(grants, request, &x)
	if err != nil {
		return err
	}
	return iot.Errorf(iot.KindDenied, "", "User: %s is not authorized to perform: %s on resource: %s%s",
		request.Principal.String(), request.Action, request.Resource, encoded)
}

// Recheck asks once more whether what is behind the caller's credentials still
// stands, and whether all that the call was allowed still is, before an upload
// commits.
func (c *Call) Recheck(ctx context.Context) error {
	if c.Identity != nil {
		id, err := c.handler.auth.Recheck(ctx, c.Identity)
		if err != nil {
			return err
		}
		c.Identity = id
	}
	before := c.granted
	c.granted = nil
	for _, p := range before {
		if err := c.Authorize(ctx, p.action, p.resource, p.extra); err != nil {
			return err
		}
	}
	return nil
}

// authorize checks the row's own permission.
func (c *Call) authorize(ctx context.Context, o *Operation, in any) error {
	if o.NoAuth {
		return nil
	}
	resource := "*"
	if o.Resource != nil {
		resource = o.Resource(c, in)
	}
	var extra policy.Keys
	if o.Keys != nil {
		extra = o.Keys(c, in)
	}
	return c.Authorize(ctx, o.Action, resource, extra)
}

// websocket reports whether r asks to become a WebSocket.
func websocket(r *http.Request) bool {
	return r.Method == http.MethodGet && headerHas(r.Header, "Upgrade", "websocket") && headerHas(r.Header, "Connection", "upgrade")
}
