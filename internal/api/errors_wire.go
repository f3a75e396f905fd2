package api

import (
	"net/http"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

// describeRequestError maps a refusal of the wire layer: signatures and bodies.
func describeRequestError(p awsapi.Protocol, r *http.Request, e *awsapi.RequestError) awsapi.APIError {
	a := awsapi.APIError{Message: e.Message}
	if p != awsapi.RESTXML {
		a.Code, a.Status = otherReason(e.Reason, p)
		return a
	}
	a.Code, a.Status = s3Reason(e.Reason, r)
	switch e.Reason { //nolint:exhaustive // the others keep their message
	case awsapi.ReasonSkew:
		a.Message = "The difference between the request time and the current time is too large."
	case awsapi.ReasonUnsignedHeader:
		var names string
		a.Message, names, _ = strings.Cut(e.Message, ": ")
		a.Fields = []awsapi.Param{{Name: "HeadersNotSigned", Value: names}}
	}
	return a
}

func s3Reason(reason awsapi.Reason, r *http.Request) (code string, status int) {
	switch reason {
	case awsapi.ReasonMalformed:
		if r.Header.Get("Authorization") != "" {
			return "AuthorizationHeaderMalformed", 400
		}
		return "AuthorizationQueryParametersError", 400
	case awsapi.ReasonSignature:
		return "SignatureDoesNotMatch", 403
	case awsapi.ReasonUnsignedHeader, awsapi.ReasonExpired:
		return "AccessDenied", 403
	case awsapi.ReasonSkew:
		return "RequestTimeTooSkewed", 403
	case awsapi.ReasonPayloadHash:
		return "XAmzContentSHA256Mismatch", 400
	case awsapi.ReasonMissingLength:
		return "MissingContentLength", 411
	case awsapi.ReasonIncomplete:
		return "IncompleteBody", 400
	case awsapi.ReasonChunkSize:
		return "InvalidChunkSizeError", 403
	case awsapi.ReasonTrailer:
		return "MalformedTrailerError", 400
	case awsapi.ReasonTimeout:
		return "RequestTimeout", 400
	case awsapi.ReasonUnsupported, awsapi.ReasonPayloadHeader, awsapi.ReasonChunk:
	}
	return "InvalidRequest", 400
}

func otherReason(reason awsapi.Reason, p awsapi.Protocol) (code string, status int) {
	json := p == awsapi.RESTJSON || p == awsapi.AWSJSON
	switch reason {
	case awsapi.ReasonSignature, awsapi.ReasonUnsignedHeader, awsapi.ReasonSkew, awsapi.ReasonExpired,
		awsapi.ReasonPayloadHash, awsapi.ReasonPayloadHeader:
		switch {
		case !json:
			return "SignatureDoesNotMatch", 403
		case p == awsapi.AWSJSON:
			return "InvalidSignatureException", 400
		}
		return "InvalidSignatureException", 403
	case awsapi.ReasonMalformed, awsapi.ReasonUnsupported:
		if json {
			return "IncompleteSignatureException", 400
		}
		return "IncompleteSignature", 400
	case awsapi.ReasonTimeout:
		if json {
			return "RequestTimeoutException", 408
		}
		return "RequestTimeout", 408
	case awsapi.ReasonMissingLength, awsapi.ReasonIncomplete, awsapi.ReasonChunk, awsapi.ReasonChunkSize, awsapi.ReasonTrailer:
	}
	if json {
		return "SerializationException", 400
	}
	return "MalformedInput", 400
}

// describeDecodeError maps a request that is not what the model asks for.
func describeDecodeError(s *awsapi.Service, e *awsapi.DecodeError) awsapi.APIError {
	a := awsapi.APIError{Message: e.Message}
	switch s.Protocol {
	case awsapi.Query:
		a.Code, a.Status = queryFault(e.Fault)
	case awsapi.RESTXML:
		describeS3Fault(&a, e)
	case awsapi.RESTJSON, awsapi.AWSJSON:
		a.Code, a.Status = jsonFault(s, e.Fault)
	}
	return a
}

func queryFault(fault awsapi.Fault) (code string, status int) {
	switch fault {
	case awsapi.FaultOperation, awsapi.FaultMethod:
		return "InvalidAction", 400
	case awsapi.FaultSyntax, awsapi.FaultType:
		return "MalformedInput", 400
	case awsapi.FaultTooLarge:
		return "RequestEntityTooLarge", 413
	case awsapi.FaultMissing, awsapi.FaultConstraint:
	}
	return "ValidationError", 400
}

// describeS3Fault gives S3's codes (S3 API reference, Error responses).
func describeS3Fault(a *awsapi.APIError, e *awsapi.DecodeError) {
	a.Code, a.Status = "InvalidArgument", 400
	switch e.Fault {
	case awsapi.FaultMethod, awsapi.FaultOperation:
		a.Code, a.Status, a.Message = "MethodNotAllowed", 405, "The specified method is not allowed against this resource."
	case awsapi.FaultTooLarge:
		a.Code, a.Message = "MaxMessageLengthExceeded", "Your request was too big."
	case awsapi.FaultSyntax, awsapi.FaultType, awsapi.FaultMissing, awsapi.FaultConstraint:
		if e.Location == awsapi.Body {
			a.Code, a.Message = "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
		}
	}
}

func jsonFault(s *awsapi.Service, fault awsapi.Fault) (code string, status int) {
	switch fault {
	case awsapi.FaultOperation, awsapi.FaultMethod:
		if s.Name == dataService && fault == awsapi.FaultMethod {
			return "MethodNotAllowedException", 405
		}
		if s.Protocol == awsapi.AWSJSON {
			return "UnknownOperationException", 400
		}
		return "UnknownOperationException", 404
	case awsapi.FaultTooLarge:
		return "RequestEntityTooLargeException", 413
	case awsapi.FaultSyntax, awsapi.FaultType:
		if s.Name == dataService {
			return "InvalidRequestException", 400
		}
		return "SerializationException", 400
	case awsapi.FaultMissing, awsapi.FaultConstraint:
	}
	switch s.Name {
	case "iot", dataService, "iot-jobs-data":
		return "InvalidRequestException", 400
	case "cognito-identity", "secretsmanager":
		return "InvalidParameterException", 400
	case "lambda":
		return "InvalidParameterValueException", 400
	}
	return "ValidationException", 400
}
