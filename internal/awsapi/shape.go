package awsapi

// Protocol is one of the four wire protocols.
type Protocol uint8

// The protocols.
const (
	Query    Protocol = iota + 1 // form in, XML out: iam, sts, cloudformation
	RESTJSON                     // iot, lambda
	AWSJSON                      // X-Amz-Target: cognito-identity, secretsmanager
	RESTXML                      // s3
)

// String returns the protocol's name in AWS's models.
func (p Protocol) String() string {
	names := [...]string{"none", "query", "rest-json", "json", "rest-xml"}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// Type is the type of a shape.
type Type uint8

// The types and the Go types that carry them in generated structs.
const (
	Structure Type = iota + 1 // struct, by pointer as a member
	List                      // slice
	Map                       // map[string]…
	String                    // *string as a member, string as an element
	Blob                      // []byte, io.Reader when streaming
	Boolean                   // *bool
	Integer                   // *int32
	Long                      // *int64
	Double                    // *float64
	Timestamp                 // *time.Time
)

// Location says which part of the message carries a member.
type Location uint8

// The locations.
const (
	Body        Location = iota
	URI                  // a label of the path
	Querystring          // one parameter, or all that are left for a map
	Header               // one header
	Headers              // every header with a prefix, as a map
	StatusCode           // the response's status
)

// TimeFormat is how a timestamp is written; the zero value is the default of
// the protocol and location.
type TimeFormat uint8

// The timestamp formats.
const (
	DefaultTime TimeFormat = iota
	UnixTime               // seconds since the epoch, with an optional fraction
	ISO8601                // 2006-01-02T15:04:05Z
	RFC822                 // Mon, 02 Jan 2006 15:04:05 GMT
)

// ShapeID is an index into Service.Shapes. Shape 0 is the empty structure.
type ShapeID uint16

// Shape is one type of a service's model with its constraints.
type Shape struct {
	Name           string
	Type           Type
	Members        []Member // of a structure, in the order of the Go struct's fields
	Payload        string   // the member that is the whole body, if any
	Elem           Ref      // of a list, or a map's value
	Key            Ref      // of a map
	Flattened      bool
	HasMin, HasMax bool
	Min, Max       int64 // of the value, or of the length in characters, bytes or elements
	Pattern        string
	Enum           []string
	TimeFormat     TimeFormat
	LocationName   string // XML element of a structure used as a payload
	XMLPrefix      string // with XMLNamespace: xmlns:prefix="…" on the element
	XMLNamespace   string
	Sensitive      bool // never repeated in a message
}

// Ref is a list element, a map key or a map value.
type Ref struct {
	Shape        ShapeID
	LocationName string
}

// Member is one member of a structure.
type Member struct {
	Name             string // in the model
	Field            string // in Go
	Shape            ShapeID
	Location         Location
	LocationName     string // on the wire, when it differs from Name
	Required         bool
	Flattened        bool
	XMLAttribute     bool
	XMLPrefix        string
	XMLNamespace     string
	TimeFormat       TimeFormat
	Streaming        bool
	JSONValue        bool // JSON text; base64 in a header
	IdempotencyToken bool
}

// wire returns the member's name on the wire.
func (m *Member) wire() string {
	if m.LocationName != "" {
		return m.LocationName
	}
	return m.Name
}

// Operation is the binding of one operation. Every operation of a known service
// has one; Input and Output are meaningful where Built is set.
type Operation struct {
	Name            string
	Method          string
	URI             string // with labels {x} and {x+} and query literals
	Status          int    // of a success
	Input, Output   ShapeID
	Built           bool   // shapes and Go structs exist
	InputRoot       string // XML element that wraps the input, where the body is not a payload
	InputNamespace  string
	OutputRoot      string // XML element that wraps the output (rest-xml)
	OutputUnwrapped bool   // the root element is the only member itself
	ResultWrapper   string // query
	NoAuth          bool   // unsigned
	Streaming       bool   // input or output is a stream
	Unrouted        bool   // deprecated twin, or served by another endpoint

	// These tell operations of one method and path apart.
	RequiredQuery   []string
	RequiredHeaders []string
	ForbiddenQuery  []string
}

// Exception is an error that a service's model declares.
type Exception struct {
	Name   string
	Code   string
	Status int
}

// Service is the generated description of one AWS service.
type Service struct {
	Name         string // as botocore names it
	SigningName  string // in a credential scope
	Protocol     Protocol
	APIVersion   string
	JSONVersion  string
	TargetPrefix string
	XMLNamespace string      // of responses
	MillisTime   bool        // ISO 8601 times carry milliseconds
	StrictXML    bool        // unknown elements are refused
	Operations   []Operation // sorted by name
	Exceptions   []Exception
	Shapes       []Shape
}
