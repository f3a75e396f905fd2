package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// Info is what a client may know of the server that it talks to.
type Info struct {
	Version   string        `json:"version"`
	Region    string        `json:"region"`
	AccountID string        `json:"accountId"`
	Endpoints InfoEndpoints `json:"endpoints"`
}

// InfoEndpoints are where devices go: host:port, but for S3, which is a URL.
type InfoEndpoints struct {
	Credentials string `json:"credentials,omitempty"`
	MQTT        string `json:"mqtt,omitempty"`
	S3          string `json:"s3,omitempty"`
}

// Sessions finds out what an access key id stands for, without its secret.
type Sessions interface {
	// Find answers KindNotFound "session" for a session that nobody has used
	// on this node since it started.
	Find(ctx context.Context, accessKeyID string) (*sts.Identity, error)
}

// Explainer is what Explain looks into.
type Explainer struct {
	Registry     *registry.Registry
	Certificates *pki.Certificates
	Sessions     Sessions
	S3           *s3.Service
}

// Sekisho is the service of what is ours: information and explanations.
func Sekisho(info func() Info, e *Explainer, u *Uploads, m *Maintenance) Service {
	return Service{Name: ownService, Operations: slices.Concat(u.operations(), m.operations(), []Operation{
		at(http.MethodGet, ownPath+"info", op("Info", "sekisho:Info", nil,
			func(context.Context, *Call, *struct{}) (*Info, error) {
				i := info()
				return &i, nil
			})),
		at(http.MethodPost, ownPath+"explain", op("Explain", "sekisho:Explain", nil, e.explain)),
		at(http.MethodPost, ownPath+"certificates/deleted", op("FindDeletedCertificate", "sekisho:FindDeletedCertificate", nil, e.deleted)),
	})}
}

// DeletedInput asks whether a certificate, in PEM, was deleted here.
type DeletedInput struct {
	CertificatePem string `json:"certificatePem"`
}

// DeletedOutput says so.
type DeletedOutput struct {
	Deleted bool `json:"deleted"`
}

func (e *Explainer) deleted(ctx context.Context, _ *Call, in *DeletedInput) (*DeletedOutput, error) {
	is, err := e.Certificates.Deleted(ctx, in.CertificatePem)
	return &DeletedOutput{Deleted: is}, err
}

// ExplainInput asks whether one action would be allowed. One of Thing and
// Session is given; Context sets condition keys of the imagined request.
type ExplainInput struct {
	Thing       string            `json:"thing"`
	Certificate string            `json:"certificate"`
	Session     string            `json:"session"`
	Action      string            `json:"action"`
	Resource    string            `json:"resource"`
	Context     map[string]string `json:"context"`
}

// ExplainOutput says what would be decided and why. Decision is allow,
// implicitDeny or explicitDeny; Text is for people.
type ExplainOutput struct {
	Decision     string               `json:"decision"`
	Text         string               `json:"text"`
	Explanations []policy.Explanation `json:"explanations,omitempty"`
}

func (e *Explainer) explain(ctx context.Context, c *Call, in *ExplainInput) (*ExplainOutput, error) {
	if in.Action == "" || in.Resource == "" {
		return nil, iot.Errorf(iot.KindInvalid, "explain", "action and resource are needed")
	}
	switch {
	case in.Thing != "" && in.Session == "":
		return e.explainThing(ctx, c, in)
	case in.Session != "" && in.Thing == "":
		return e.explainSession(ctx, c, in)
	}
	return nil, iot.Errorf(iot.KindInvalid, "explain", "one of thing and session is needed")
}

// explainThing judges by the IoT policies of the thing's certificate.
func (e *Explainer) explainThing(ctx context.Context, c *Call, in *ExplainInput) (*ExplainOutput, error) {
	arn, err := e.certificateOf(ctx, in)
	if err != nil {
		return nil, err
	}
	_, id, _ := strings.Cut(string(arn), ":cert/")
	cert, err := e.Certificates.Lookup(ctx, iot.CertificateID(id))
	if err != nil {
		return nil, err
	}
	principal, err := e.Registry.Principal(ctx, arn)
	if err != nil {
		return nil, err
	}
	keys := &registry.Keys{Certificate: cert.Facts, SourceIP: c.keys.sourceIP, Now: c.Now}
	if strings.EqualFold(in.Action, "iot:AssumeRoleWithCertificate") {
		keys.Thing = principal.Thing(in.Thing) // named by a header there, not by a client ID
		keys.NoThing = "the thing is not attached to the certificate"
	} else {
		keys.ClientID = in.Thing
		for k, v := range in.Context {
			if strings.EqualFold(k, "iot:ClientId") {
				keys.ClientID = v
			}
		}
		keys.Thing, keys.NoThing = principal.ForClient(keys.ClientID)
	}
	x := principal.PoliciesFor(keys.Thing).Explain(&policy.Request{
		Action: in.Action, Resource: in.Resource, Principal: policy.Principal{Account: string(c.Account), ARN: string(arn)},
		Keys: imagine(in.Context, keys),
	})
	out := &ExplainOutput{Decision: decision(x.Decision), Text: x.String(), Explanations: []policy.Explanation{x}}
	if ok, why := cert.Usable(c.Now); !ok {
		out.Decision = "explicitDeny"
		out.Text = fmt.Sprintf("refused: %s (%s), so that nothing is allowed, whatever the policies say.\nThe policies alone would say: %s", why, id, out.Text)
	}
	return out, nil
}

// certificateOf returns the ARN of the certificate that would ask.
func (e *Explainer) certificateOf(ctx context.Context, in *ExplainInput) (iot.ARN, error) {
	attached, _, err := e.Registry.ThingPrincipals(ctx, in.Thing, "", registry.Page{})
	if err != nil {
		return "", err
	}
	var ids []string
	for _, a := range attached {
		_, id, ok := strings.Cut(string(a.Principal), ":cert/")
		if !ok {
			continue
		}
		if id == in.Certificate {
			return a.Principal, nil
		}
		ids = append(ids, id)
	}
	switch {
	case in.Certificate != "":
		return "", iot.Errorf(iot.KindInvalid, "certificate", "certificate %s is not attached to thing %s", in.Certificate, in.Thing)
	case len(ids) == 0:
		return "", iot.Errorf(iot.KindInvalid, "certificate", "no certificate is attached to thing %s, so nothing is allowed to it", in.Thing)
	case len(ids) > 1:
		return "", iot.Errorf(iot.KindInvalid, "certificate", "thing %s has %d certificates, name one: %s", in.Thing, len(ids), strings.Join(ids, " "))
	}
	return e.Registry.CertificateARN(iot.CertificateID(ids[0])), nil
}

// explainSession judges by the IAM policies of a session or user, and by the
// bucket's policy where there is one.
func (e *Explainer) explainSession(ctx context.Context, c *Call, in *ExplainInput) (*ExplainOutput, error) {
	id, err := e.Sessions.Find(ctx, in.Session)
	if err != nil {
		if iot.IsKind(err, iot.KindDenied) || iot.IsKind(err, iot.KindExpired) {
			return &ExplainOutput{
				Decision: "explicitDeny",
				Text:     "refused: the credentials themselves are no longer good, whatever the policies say: " + cause(err),
			}, nil
		}
		if iot.IsKind(err, iot.KindUnknownKey) {
			return nil, iot.Errorf(iot.KindNotFound, "session", "%s: %s.", clipped(in.Session), cause(err))
		}
		return nil, err
	}
	grants := id.Grants
	if bucket, ok := strings.CutPrefix(in.Resource, "arn:aws:s3:::"); ok {
		name, _, _ := strings.Cut(bucket, "/")
		if b, err := e.S3.Bucket(ctx, name); err == nil {
			grants.Resource = b.Policy
		} else if !iot.IsKind(err, iot.KindNotFound) {
			return nil, err
		}
	}
	asks := *c // the imagined request: another's identity, this one's connection
	asks.Identity = id
	var keys requestKeys
	keys.init(&asks)
	x := grants.Explain(&policy.Request{
		Action: in.Action, Resource: in.Resource, Principal: id.Principal, Keys: imagine(in.Context, &keys),
	})
	return &ExplainOutput{Decision: decision(x.Decision), Text: x.String(), Explanations: []policy.Explanation{x}}, nil
}

// cause is what an error says to the operator rather than to the caller.
func cause(err error) string {
	if known, ok := errors.AsType[*iot.Error](err); ok && known.Err != nil {
		return known.Err.Error()
	}
	return err.Error()
}

func decision(d policy.Decision) string {
	switch d.Effect {
	case policy.Allow:
		return "allow"
	case policy.ExplicitDeny:
		return "explicitDeny"
	case policy.ImplicitDeny:
	}
	return "implicitDeny"
}

// imagined answers the keys that were given before those of the request.
type imagined struct {
	given map[string]policy.Values
	keys  policy.Keys
}

func imagine(given map[string]string, keys policy.Keys) policy.Keys {
	if len(given) == 0 {
		return keys
	}
	m := make(map[string]policy.Values, len(given))
	for _, k := range slices.Sorted(maps.Keys(given)) {
		name := strings.ToLower(k)
		m[name] = policy.One(given[k])
		if name == "iot:connectattributes" { // the only key of many values that MQTT has
			m[name] = policy.Many(splitList(given[k]))
		}
	}
	return &imagined{given: m, keys: keys}
}

// Lookup implements policy.Keys.
func (i *imagined) Lookup(key string) policy.Values {
	if v, ok := i.given[strings.ToLower(key)]; ok {
		return v
	}
	return i.keys.Lookup(key)
}

// splitList returns the items of a list with commas, none for "".
func splitList(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
