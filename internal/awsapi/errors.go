package awsapi

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Fault says what is wrong with a message. The set is closed.
type Fault uint8

// The faults.
const (
	FaultSyntax     Fault = iota + 1 // the body, path or query does not parse
	FaultType                        // a value of the wrong type or out of its range
	FaultMissing                     // a required member is absent
	FaultConstraint                  // a value breaks a constraint of the model
	FaultTooLarge                    // more bytes, depth or elements than are read
	FaultOperation                   // no such operation
	FaultMethod                      // the resource exists, the method does not
)

// DecodeError is a request that is not what the model asks for.
type DecodeError struct {
	Fault    Fault
	Member   string   // path of the (first) member concerned: "tags.1.member.key"
	Location Location // where that member travels
	Message  string   // for the caller
}

// Error renders the error for logs.
func (e *DecodeError) Error() string { return e.Message }

func fault(f Fault, member, format string, args ...any) *DecodeError {
	return &DecodeError{Fault: f, Member: member, Message: fmt.Sprintf(format, args...)}
}

// APIError is an error as a caller sees it.
type APIError struct {
	Code        string
	Status      int
	Message     string
	ResourceID  string  // rest-json
	ResourceARN string  // rest-json
	Resource    string  // rest-xml: the path that was asked for
	Fields      []Param // rest-xml and rest-json: further elements, such as Region
}

// WriteError writes an error in the envelope of the service's protocol.
func WriteError(w http.ResponseWriter, s *Service, requestID string, e APIError) error {
	h := w.Header()
	setRequestID(h, s.Protocol, requestID)
	h.Del("Content-Length")
	var body []byte
	switch s.Protocol {
	case Query:
		h.Set("Content-Type", "text/xml")
		body = queryError(s, requestID, e)
	case RESTXML:
		h.Set("Content-Type", "application/xml")
		body = xmlError(requestID, e)
	case AWSJSON:
		h.Set("Content-Type", "application/x-amz-json-"+cmp.Or(s.JSONVersion, "1.0"))
		body = append(appendJSONString([]byte(`{"__type":`), e.Code), `,"message":`...)
		body = append(appendJSONString(body, e.Message), '}')
	case RESTJSON:
		h.Set("Content-Type", "application/json")
		h.Set("X-Amzn-Errortype", headerText(e.Code))
		body = appendJSONString([]byte(`{"message":`), e.Message)
		for _, f := range append([]Param{{"resourceId", e.ResourceID}, {"resourceArn", e.ResourceARN}}, e.Fields...) {
			if f.Value != "" {
				body = append(body, `,"`+f.Name+`":`...)
				body = appendJSONString(body, f.Value)
			}
		}
		body = append(body, '}')
	}
	return finish(w, e.Status, body)
}

func queryError(s *Service, requestID string, e APIError) []byte {
	x := xmlWriter{buf: xmlDeclaration()}
	x.open("ErrorResponse", namespaceAttr("", s.XMLNamespace))
	x.open("Error", "")
	if e.Status < http.StatusInternalServerError {
		x.leaf("Type", "Sender")
	} else {
		x.leaf("Type", "Receiver")
	}
	x.leaf("Code", e.Code)
	x.leaf("Message", inXML(e.Message))
	x.close("Error")
	x.leaf("RequestId", requestID)
	x.close("ErrorResponse")
	return x.buf
}

// xmlError is S3's envelope, which has no wrapper and no namespace.
func xmlError(requestID string, e APIError) []byte {
	x := xmlWriter{buf: xmlDeclaration()}
	x.open("Error", "")
	x.leaf("Code", e.Code)
	x.leaf("Message", inXML(e.Message))
	for _, f := range e.Fields {
		x.leaf(f.Name, inXML(f.Value))
	}
	if e.Resource != "" {
		x.leaf("Resource", inXML(e.Resource))
	}
	x.leaf("RequestId", requestID)
	x.leaf("HostId", hostID(requestID))
	x.close("Error")
	return x.buf
}

// inXML replaces what XML 1.0 cannot hold, not even as a reference: an error
// that quotes such a value must still parse.
func inXML(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return utf8.RuneError
		}
		return r
	}, s)
}
