package api

import (
	"errors"
	"net/http"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// errorKey finds an error's row: by service, kind and resource, else by
// service and kind alone.
type errorKey struct {
	service  string
	kind     iot.Kind
	resource string
}

// errorCode is what an error is called on the wire. A message replaces the
// error's own, where AWS says less or something else.
type errorCode struct {
	code    string
	status  int
	message string
}

// errorCodes are the errors of all services.
type errorCodes map[errorKey]errorCode

const internalMessage = "We encountered an internal error. Please try again."

// errorTable is the one table of errors. Whoever builds a row adds its lines to
// the service's list.
func errorTable() errorCodes {
	table := make(errorCodes)
	for _, add := range []func(errorCodes){iotErrors, iamErrors, stsErrors, s3Errors, otherErrors, iotDataErrors} {
		add(table)
	}
	return table
}

// iotErrors are those of the control plane (control plane API, Errors).
func iotErrors(t errorCodes) {
	for kind, code := range map[iot.Kind]errorCode{
		iot.KindInvalid:         {code: "InvalidRequestException", status: 400},
		iot.KindMalformed:       {code: "MalformedPolicyException", status: 400},
		iot.KindNotFound:        {code: "ResourceNotFoundException", status: 404},
		iot.KindExists:          {code: "ResourceAlreadyExistsException", status: 409},
		iot.KindConflict:        {code: "DeleteConflictException", status: 409},
		iot.KindVersionConflict: {code: "VersionConflictException", status: 409},
		iot.KindState:           {code: "CertificateStateException", status: 406},
		iot.KindLimit:           {code: "LimitExceededException", status: 410},
		iot.KindVersionLimit:    {code: "VersionsLimitExceededException", status: 409},
		iot.KindTooLarge:        {code: "InvalidRequestException", status: 400},
		iot.KindTooSmall:        {code: "InvalidRequestException", status: 400},
		iot.KindDenied:          {code: "AccessDeniedException", status: 403},
		iot.KindBusy:            {code: "ServiceUnavailableException", status: 503},
		iot.KindInternal:        {code: "InternalFailureException", status: 500, message: internalMessage},
	} {
		t[errorKey{"iot", kind, ""}] = code
	}
	t[errorKey{"iot", iot.KindInvalid, "query"}] = errorCode{code: "InvalidQueryException", status: 400}
	t[errorKey{"iot", iot.KindState, "index"}] = errorCode{code: "IndexNotReadyException", status: 400}
	t[errorKey{"iot", iot.KindInvalid, "certificate-validation"}] = errorCode{code: "CertificateValidationException", status: 400}
	t[errorKey{"iot", iot.KindInvalid, "registration-code"}] = errorCode{code: "RegistrationCodeValidationException", status: 400}
	t[errorKey{"iot", iot.KindConflict, "certificate-conflict"}] = errorCode{code: "CertificateConflictException", status: 409}
}

// iamErrors are those of IAM (API reference, Common errors and each operation's).
func iamErrors(t errorCodes) {
	for kind, code := range map[iot.Kind]errorCode{
		iot.KindInvalid:      {code: "ValidationError", status: 400},
		iot.KindMalformed:    {code: "MalformedPolicyDocument", status: 400},
		iot.KindNotFound:     {code: "NoSuchEntity", status: 404},
		iot.KindExists:       {code: "EntityAlreadyExists", status: 409},
		iot.KindConflict:     {code: "DeleteConflict", status: 409},
		iot.KindState:        {code: "UnmodifiableEntity", status: 400},
		iot.KindLimit:        {code: "LimitExceeded", status: 409},
		iot.KindVersionLimit: {code: "LimitExceeded", status: 409},
		iot.KindTooLarge:     {code: "LimitExceeded", status: 409},
		iot.KindTooSmall:     {code: "ValidationError", status: 400},
		iot.KindDenied:       {code: "AccessDenied", status: 403},
		iot.KindBusy:         {code: "ServiceFailure", status: 503},
		iot.KindInternal:     {code: "InternalFailure", status: 500, message: internalMessage},
	} {
		t[errorKey{"iam", kind, ""}] = code
	}
	t[errorKey{"iam", iot.KindInvalid, "input"}] = errorCode{code: "InvalidInput", status: 400}
}

// stsErrors are those of STS. A role that does not exist is no different from
// one that refuses.
func stsErrors(t errorCodes) {
	for kind, code := range map[iot.Kind]errorCode{
		iot.KindInvalid:   {code: "ValidationError", status: 400},
		iot.KindMalformed: {code: "MalformedPolicyDocument", status: 400},
		iot.KindNotFound:  {code: "AccessDenied", status: 403},
		iot.KindTooLarge:  {code: "PackedPolicyTooLarge", status: 400},
		iot.KindLimit:     {code: "ValidationError", status: 400},
		iot.KindDenied:    {code: "AccessDenied", status: 403},
		iot.KindBusy:      {code: "ServiceUnavailable", status: 503},
		iot.KindInternal:  {code: "InternalFailure", status: 500, message: internalMessage},
	} {
		t[errorKey{"sts", kind, ""}] = code
	}
	t[errorKey{"sts", iot.KindInvalid, "authorization-message"}] = errorCode{code: "InvalidAuthorizationMessageException", status: 400}
}

// s3Errors are those of S3 (API reference, Error responses).
func s3Errors(t errorCodes) {
	add := func(kind iot.Kind, resource, code string, status int) {
		t[errorKey{"s3", kind, resource}] = errorCode{code: code, status: status}
	}
	add(iot.KindNotFound, "", "NoSuchKey", 404)
	add(iot.KindNotFound, "bucket", "NoSuchBucket", 404)
	add(iot.KindNotFound, "bucket-policy", "NoSuchBucketPolicy", 404)
	add(iot.KindNotFound, "upload", "NoSuchUpload", 404)
	add(iot.KindNotFound, "version", "NoSuchVersion", 404)
	add(iot.KindExists, "", "BucketAlreadyOwnedByYou", 409)
	add(iot.KindConflict, "", "OperationAborted", 409)
	add(iot.KindConflict, "bucket", "BucketNotEmpty", 409)
	add(iot.KindConflict, "object", "ConditionalRequestConflict", 409)
	add(iot.KindState, "", "InvalidObjectState", 403)
	add(iot.KindInvalid, "", "InvalidArgument", 400)
	add(iot.KindInvalid, "argument", "InvalidArgument", 400)
	add(iot.KindInvalid, "body", "IncompleteBody", 400)
	add(iot.KindInvalid, "bucket-name", "InvalidBucketName", 400)
	add(iot.KindInvalid, "checksum-algorithm", "InvalidRequest", 400)
	add(iot.KindInvalid, "digest", "InvalidDigest", 400)
	add(iot.KindInvalid, "digest-mismatch", "BadDigest", 400)
	add(iot.KindInvalid, "location", "InvalidLocationConstraint", 400)
	add(iot.KindInvalid, "location-incompatible", "IllegalLocationConstraintException", 400)
	add(iot.KindInvalid, "part", "InvalidPart", 400)
	add(iot.KindInvalid, "part-range", "InvalidPartNumber", 416)
	add(iot.KindInvalid, "part-order", "InvalidPartOrder", 400)
	add(iot.KindInvalid, "range", "InvalidRange", 416)
	add(iot.KindInvalid, "request", "InvalidRequest", 400)
	add(iot.KindInvalid, "xml", "MalformedXML", 400)
	add(iot.KindMalformed, "", "MalformedPolicy", 400)
	add(iot.KindLimit, "", "TooManyBuckets", 400)
	add(iot.KindPrecondition, "", "PreconditionFailed", 412)
	add(iot.KindNotModified, "", "NotModified", 304)
	add(iot.KindTooLarge, "", "EntityTooLarge", 400)
	add(iot.KindTooLarge, "key", "KeyTooLongError", 400)
	add(iot.KindTooLarge, "metadata", "MetadataTooLarge", 400)
	add(iot.KindTooSmall, "", "EntityTooSmall", 400)
	add(iot.KindBusy, "", "SlowDown", 503)
	t[errorKey{"s3", iot.KindDenied, ""}] = errorCode{"AccessDenied", 403, "Access Denied"}
	t[errorKey{"s3", iot.KindInternal, ""}] = errorCode{"InternalError", 500, internalMessage}
}

// otherErrors are those of services that have no rows of their own yet, which
// still refuse what is not allowed.
func otherErrors(t errorCodes) {
	for _, service := range []string{dataService, "iot-jobs-data", "lambda", ownService} {
		t[errorKey{service, iot.KindInvalid, ""}] = errorCode{code: "InvalidRequestException", status: 400}
		t[errorKey{service, iot.KindMalformed, ""}] = errorCode{code: "InvalidRequestException", status: 400}
		t[errorKey{service, iot.KindNotFound, ""}] = errorCode{code: "ResourceNotFoundException", status: 404}
		t[errorKey{service, iot.KindConflict, ""}] = errorCode{code: "ConflictException", status: 409}
		t[errorKey{service, iot.KindExists, ""}] = errorCode{code: "ConflictException", status: 409}
		t[errorKey{service, iot.KindDenied, ""}] = errorCode{code: "AccessDeniedException", status: 403}
		t[errorKey{service, iot.KindBusy, ""}] = errorCode{code: "ServiceUnavailableException", status: 503}
	}
	for _, service := range []string{"cognito-identity", "secretsmanager"} {
		t[errorKey{service, iot.KindDenied, ""}] = errorCode{code: "AccessDeniedException", status: 400}
	}
	t[errorKey{"cloudformation", iot.KindDenied, ""}] = errorCode{code: "AccessDenied", status: 403}
}

// iotDataErrors are those of the data plane, which says less than others do.
func iotDataErrors(t errorCodes) {
	t[errorKey{dataService, iot.KindDenied, ""}] = errorCode{"ForbiddenException", 403, "Forbidden"}
	t[errorKey{dataService, iot.KindTooLarge, ""}] = errorCode{code: "RequestEntityTooLargeException", status: 413}
	t[errorKey{dataService, iot.KindLimit, ""}] = errorCode{code: "ThrottlingException", status: 429}
	t[errorKey{dataService, iot.KindInternal, ""}] = errorCode{"InternalFailureException", 500, internalMessage}
}

// describe maps any error to what the caller is told. It reports false where
// the machine is to blame, and the error is for the log.
func (t errorCodes) describe(s *awsapi.Service, r *http.Request, err error) (awsapi.APIError, bool) {
	if e, ok := errors.AsType[*wireError](err); ok {
		return e.APIError, true
	}
	if e, ok := errors.AsType[*awsapi.RequestError](err); ok {
		return describeRequestError(s.Protocol, r, e), true
	}
	if e, ok := errors.AsType[*awsapi.DecodeError](err); ok {
		return describeDecodeError(s, e), true
	}
	if e, ok := errors.AsType[*iot.Error](err); ok && e.Kind != iot.KindInternal {
		if described, ok := t.describeServiceError(s, e); ok {
			return described, true
		}
	}
	c, ok := t[errorKey{s.Name, iot.KindInternal, ""}]
	if !ok {
		c = errorCode{"InternalFailure", http.StatusInternalServerError, internalMessage}
	}
	return awsapi.APIError{Code: c.code, Status: c.status, Message: c.message}, false
}

func (t errorCodes) describeServiceError(s *awsapi.Service, e *iot.Error) (awsapi.APIError, bool) {
	c, ok := t[errorKey{s.Name, e.Kind, e.Resource}]
	if !ok {
		c, ok = t[errorKey{s.Name, e.Kind, ""}]
	}
	if !ok {
		c, ok = commonError(s.Protocol, e.Kind)
	}
	if c.message == "" {
		c.message = e.Message
	}
	return awsapi.APIError{Code: c.code, Status: c.status, Message: c.message, ResourceID: e.ID, ResourceARN: e.ARN}, ok
}

// wireError is a refusal that the pipeline itself decided on.
type wireError struct{ awsapi.APIError }

// Error renders the refusal for logs.
func (e *wireError) Error() string { return e.Code + ": " + e.Message }

func refuse(code string, status int, message string, fields ...awsapi.Param) error {
	return &wireError{awsapi.APIError{Code: code, Status: status, Message: message, Fields: fields}}
}

// commonError is the table of authentication errors, by protocol, and of what
// every service answers alike.
func commonError(p awsapi.Protocol, kind iot.Kind) (errorCode, bool) {
	const (
		badKey  = "The security token included in the request is invalid."
		expired = "The security token included in the request is expired"
	)
	status := 403
	if p == awsapi.AWSJSON {
		status = 400
	}
	switch kind { //nolint:exhaustive // the rest differs by service
	case iot.KindNotBuilt:
		return errorCode{code: "NotImplemented", status: http.StatusNotImplemented}, true
	case iot.KindUnknownKey, iot.KindBadToken:
		switch {
		case p == awsapi.Query:
			return errorCode{"InvalidClientTokenId", 403, badKey}, true
		case p != awsapi.RESTXML:
			return errorCode{"UnrecognizedClientException", status, badKey}, true
		case kind == iot.KindBadToken:
			return errorCode{"InvalidToken", 400, "The provided token is malformed or otherwise invalid."}, true
		}
		return errorCode{"InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."}, true
	case iot.KindExpired:
		switch p {
		case awsapi.Query:
			return errorCode{"ExpiredToken", 403, expired}, true
		case awsapi.RESTXML:
			return errorCode{"ExpiredToken", 400, "The provided token has expired."}, true
		case awsapi.RESTJSON, awsapi.AWSJSON:
		}
		return errorCode{"ExpiredTokenException", status, expired}, true
	}
	return errorCode{}, false
}

// missingAuthentication is the answer to an unsigned call of a signed operation.
func missingAuthentication(p awsapi.Protocol) error {
	switch p {
	case awsapi.Query:
		return refuse("MissingAuthenticationToken", 403, "Request is missing Authentication Token")
	case awsapi.RESTXML:
		return refuse("AccessDenied", 403, "Access Denied")
	case awsapi.AWSJSON:
		return refuse("MissingAuthenticationTokenException", 400, "Missing Authentication Token")
	case awsapi.RESTJSON:
	}
	return refuse("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
}
