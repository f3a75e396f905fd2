package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/api/model"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

const (
	globalRegion = "us-east-1" // IAM, STS and S3 take it everywhere
	ownService   = "sekisho"
	dataService  = "iot-data"
	ownPath      = "/_sekisho/"
	mqttPath     = "/mqtt"
	mqttScope    = "iotdevicegateway"
	defaultBody  = 1 << 20
)

// boundService is a service with its rows.
type boundService struct {
	*awsapi.Service
	router         *awsapi.Router
	rows           map[string]*Operation
	ResourcePolicy resourcePolicy
	maxBody        int64 // of what is read whole
}

// bind joins the rows of a service to its model. A row that the model does not
// know, or that does not fit it, is refused.
func bind(m *awsapi.Service, s Service) (*boundService, error) {
	b := &boundService{
		Service: m, router: awsapi.NewRouter(m), rows: make(map[string]*Operation),
		ResourcePolicy: s.ResourcePolicy, maxBody: defaultBody,
	}
	for i := range s.Operations {
		o := &s.Operations[i]
		if err := b.add(o); err != nil {
			return nil, fmt.Errorf("%s %s: %w", s.Name, o.Name, err)
		}
	}
	return b, nil
}

func (b *boundService) add(o *Operation) error {
	key := o.Name
	binding := b.router.Binding(o.Name)
	switch {
	case o.Handle == nil || o.newInput == nil:
		return errors.New("the row has no handler")
	case (o.Action == "") != o.NoAuth:
		return errors.New("a row has an action, or is marked as not authorised")
	case b.Name == ownService && (o.Method == "" || !strings.HasPrefix(o.Path, ownPath)):
		return errors.New("the row has no method and path of its own")
	case b.Name == ownService:
		key = o.Method + " " + o.Path
	case binding == nil:
		return errors.New("the model does not know the operation")
	case !binding.Built:
		return errors.New("the model was generated without the operation's shapes")
	default:
		if err := binding.Check(o.newInput(), o.newOutput()); err != nil {
			return err
		}
		if !o.Stream && !binding.StreamsInput() {
			b.maxBody = max(b.maxBody, binding.MaxBody())
		}
	}
	if b.rows[key] != nil {
		return errors.New("the row stands twice")
	}
	b.rows[key] = o
	return nil
}

// bindAll binds the services' rows and every known service without any. The
// result is by the name in the credential scope.
func bindAll(services []Service) (map[string]*boundService, error) {
	rows := make(map[string]Service, len(services))
	for _, s := range services {
		if _, twice := rows[s.Name]; twice {
			return nil, fmt.Errorf("%s: the service stands twice", s.Name)
		}
		rows[s.Name] = s
	}
	bound := make(map[string]*boundService)
	for _, m := range append(model.Services(), ownModel()) {
		b, err := bind(m, rows[m.Name])
		if err != nil {
			return nil, err
		}
		bound[m.SigningName] = b
		delete(rows, m.Name)
	}
	for name := range rows {
		return nil, fmt.Errorf("%s: no model knows the service", name)
	}
	bound[mqttScope] = bound["iotdata"]
	return bound, nil
}

func ownModel() *awsapi.Service {
	return &awsapi.Service{Name: ownService, SigningName: ownService, Protocol: awsapi.RESTJSON}
}

// route finds the operation of a request to a service.
func (h *Handler) route(b *boundService, r *http.Request, body []byte) (*awsapi.Binding, *Operation, awsapi.PathParams, error) {
	path := awsapi.RawPath(r)
	switch {
	case b.Name == ownService:
		o := b.rows[r.Method+" "+path]
		if o == nil {
			return nil, nil, nil, unknownOperation()
		}
		return nil, o, nil, nil
	case b.Name == "s3":
		if bucket, ok := h.BucketFromHost(r.Host); ok {
			path = "/" + bucket + path
		}
	case !awsapi.PlainPath(path): // signers disagree on what such a path means
		return nil, nil, nil, unknownOperation()
	}
	binding, params, err := b.router.Match(r, path, body)
	if err != nil {
		return nil, nil, nil, err
	}
	return binding, b.rows[binding.Name], params, nil
}

func unknownOperation() error {
	return &awsapi.DecodeError{Fault: awsapi.FaultOperation, Message: "Unable to determine service/operation name to be authorized"}
}

// guess tells which service's words to use towards a request whose
// authentication does not say.
func (h *Handler) guess(r *http.Request) *boundService {
	said := r.Header.Get("Authorization") + awsapi.RawQuery(r)
	for scope, b := range h.services {
		if strings.Contains(said, "/"+scope+"/aws4_request") || strings.Contains(said, "%2F"+scope+"%2Faws4_request") {
			return b
		}
	}
	if b := h.target(r); b != nil {
		return b
	}
	switch {
	case isForm(r):
		return h.services["sts"]
	case r.Header.Get("X-Amz-Target") != "":
		return h.services["cognito-identity"]
	case strings.HasPrefix(awsapi.RawPath(r), ownPath):
		return h.services[ownService]
	}
	return h.services["s3"]
}

// target returns the service that X-Amz-Target names.
func (h *Handler) target(r *http.Request) *boundService {
	prefix, _, ok := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if !ok {
		return nil
	}
	for _, b := range h.services {
		if b.TargetPrefix == prefix {
			return b
		}
	}
	return nil
}

// isForm reports whether an unsigned request may be a call of a query service.
func isForm(r *http.Request) bool {
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return r.Method == http.MethodPost && strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded")
}

// formService returns the query service that knows the form's action.
func (h *Handler) formService(r *http.Request, body []byte) (*boundService, *awsapi.Binding) {
	for _, scope := range []string{"sts", "iam", "cloudformation"} {
		b := h.services[scope]
		if binding, _, err := b.router.Match(r, "/", body); err == nil {
			return b, binding
		}
	}
	return nil, nil
}

// acceptsRegion reports whether a credential scope's region is right.
func (h *Handler) acceptsRegion(service, region string) bool {
	if region == h.region {
		return true
	}
	return region == globalRegion && (service == "s3" || service == "iam" || service == "sts")
}

func wrongRegion(b *boundService, got, want string) error {
	switch b.Protocol {
	case awsapi.RESTXML:
		return refuse("AuthorizationHeaderMalformed", http.StatusBadRequest,
			fmt.Sprintf("The authorization header is malformed; the region '%s' is wrong; expecting '%s'", got, want),
			awsapi.Param{Name: "Region", Value: want})
	case awsapi.Query, awsapi.RESTJSON, awsapi.AWSJSON:
	}
	return badScope(b, "Credential should be scoped to a valid region. ")
}

// badScope refuses a credential scope in the service's words.
func badScope(b *boundService, message string) error {
	code, status := otherReason(awsapi.ReasonSignature, b.Protocol)
	return refuse(code, status, message)
}

func notBuilt(b *boundService, operation string) error {
	return refuse("NotImplemented", http.StatusNotImplemented,
		fmt.Sprintf("The operation %s of %s is not implemented.", operation, b.Name))
}
