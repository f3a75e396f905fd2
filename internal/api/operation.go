package api

import (
	"context"
	"net/http"
	"time"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// Service is the rows of one service. Its constructor works with nil services
// too, for listing.
type Service struct {
	// Name is the service's name in the model ("iot", "s3"), or "sekisho".
	Name       string
	Operations []Operation

	// ResourcePolicy returns the policy of the resource with this ARN, nil
	// where it has none. Only services with resource policies set it.
	ResourcePolicy func(ctx context.Context, resource string) (*policy.Policy, error)
}

// Operation is one row. Build it with op and its kin, which keep the types of
// input and output together.
type Operation struct {
	Name     string
	Action   string                            // "iot:CreateThing"; "" with NoAuth
	Resource func(c *Call, in any) string      // the ARN to authorise; nil means "*"
	Keys     func(c *Call, in any) policy.Keys // condition keys that only this operation knows; nil means none

	NoAuth    bool // signed but not authorised: GetCallerIdentity
	Anonymous bool // may come unsigned; a resource policy decides
	Stream    bool // the body is left to the handler, as Call.Body

	// Method and Path are for services without a model: the request is matched
	// exactly, and input and output are plain JSON.
	Method, Path string

	Handle func(ctx context.Context, c *Call, in any) (out any, err error)

	newInput, newOutput func() any
}

// op is the row of an operation with this input and output.
func op[In, Out any](name, action string, resource func(*Call, *In) string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	o := Operation{
		Name:      name,
		Action:    action,
		newInput:  func() any { return new(In) },
		newOutput: func() any { return new(Out) },
		Handle: func(ctx context.Context, c *Call, in any) (any, error) {
			out, err := handle(ctx, c, in.(*In)) //nolint:forcetypeassert // made by newInput
			if err != nil || out == nil {
				return nil, err
			}
			return out, nil
		},
	}
	if resource != nil {
		o.Resource = func(c *Call, in any) string {
			return resource(c, in.(*In)) //nolint:forcetypeassert // made by newInput
		}
	}
	return o
}

// withKeys adds condition keys that only this operation knows: s3:prefix,
// aws:RequestTag/…. In is the row's input.
func withKeys[In any](o Operation, keys func(*Call, *In) policy.Keys) Operation {
	o.Keys = func(c *Call, in any) policy.Keys {
		return keys(c, in.(*In)) //nolint:forcetypeassert // made by newInput
	}
	return o
}

// withoutAuthorization is for what every signed caller may ask.
func withoutAuthorization(o Operation) Operation {
	o.Action, o.NoAuth = "", true
	return o
}

// anonymously lets a row be called unsigned, if a resource policy allows it.
func anonymously(o Operation) Operation {
	o.Anonymous = true
	return o
}

// at binds a row of a service without a model.
func at(method, path string, o Operation) Operation {
	o.Method, o.Path = method, path
	return o
}

// Call is one request on its way through a row. A handler that writes the
// response itself does so through Writer and returns a nil output.
type Call struct {
	Service, Operation, RequestID string

	Identity *sts.Identity // who asks; nil for an anonymous caller
	HTTP     *http.Request
	Writer   http.ResponseWriter // headers set on it go out with an encoded output too
	Body     *awsapi.BodyReader  // the body of a streaming row, else nil
	Account  iot.AccountID
	Region   string
	Now      time.Time // when the request arrived
	SignedAt time.Time // zero for an anonymous caller

	handler  *Handler
	service  *boundService
	received *requestBody // nil where the request has none
	keys     requestKeys
	unread   error        // why a condition key has no answer; see couldNotRead
	granted  []permission // of S3, for Recheck
	traced   *traced      // nil while nothing is traced
}

// permission is one that a call was found to have.
type permission struct {
	action, resource string
	extra            policy.Keys
}
