package awsapi

import (
	"io"
	"time"
)

// The types of the service that the unit tests speak to: one of everything.
type (
	everything struct {
		Text    *string
		Flag    *bool
		Count   *int32
		Size    *int64
		Ratio   *float64
		Raw     []byte
		When    *time.Time
		WhenISO *time.Time
		Nested  *everything
		Names   []string
		Flat    []string
		Nests   []everything
		Lists   [][]string
		Map     map[string]string
		FlatMap map[string]string
		Maps    map[string]map[string]string
		Nulls   []*string
		NullMap map[string]*string
		Kind    *string
		Secret  *string
		Secrets []string
		Kinds   map[string]string
		Deep    map[string]everything
		Counts  []int32
	}
	placed struct {
		Bucket   *string
		Key      *string
		Count    *int32
		Counts   []int32
		Query    map[string]string
		Queries  map[string][]string
		Header   *string
		Numbers  []int32
		JSON     *string
		Meta     map[string]string
		Since    *time.Time
		Until    *time.Time
		Status   *int32
		Document *everything
	}
	streamed struct {
		Name *string
		Body io.Reader
	}
	texted     struct{ Policy *string }
	blobbed    struct{ Data []byte }
	attributed struct {
		Type   *string
		ID     *string
		Number *int32
	}
	bare     struct{ Place *string }
	labelled struct{ Count *int32 }
	top      struct {
		Name *string
		Tags []everything
	}
	plain struct {
		Grantee *attributed
	}
)

const (
	_ ShapeID = iota
	idText
	idFlag
	idCount
	idSize
	idRatio
	idRaw
	idWhen
	idEverything
	idNames
	idFlat
	idNests
	idLists
	idMap
	idFlatMap
	idMaps
	idKind
	idSecret
	idSecrets
	idKinds
	idDeep
	idCounts
	idQueries
	idPlaced
	idStream
	idStreamed
	idTexted
	idBlobbed
	idAttributed
	idPlain
	idBareText
	idBareMap
	idLabelled
	idTop
	idBareNames
	idBare
)

func testShapes() []Shape {
	every := []Member{
		{Name: "Text", Shape: idText},
		{Name: "Flag", Shape: idFlag},
		{Name: "Count", Shape: idCount},
		{Name: "Size", Shape: idSize},
		{Name: "Ratio", Shape: idRatio},
		{Name: "Raw", Shape: idRaw},
		{Name: "When", Shape: idWhen},
		{Name: "WhenISO", Shape: idWhen, TimeFormat: ISO8601},
		{Name: "Nested", Shape: idEverything},
		{Name: "Names", Shape: idNames},
		{Name: "Flat", Shape: idFlat},
		{Name: "Nests", Shape: idNests},
		{Name: "Lists", Shape: idLists},
		{Name: "Map", Shape: idMap},
		{Name: "FlatMap", Shape: idFlatMap},
		{Name: "Maps", Shape: idMaps},
		{Name: "Nulls", Shape: idBareNames},
		{Name: "NullMap", Shape: idBareMap},
		{Name: "Kind", Shape: idKind},
		{Name: "Secret", Shape: idSecret},
		{Name: "Secrets", Shape: idSecrets},
		{Name: "Kinds", Shape: idKinds},
		{Name: "Deep", Shape: idDeep},
		{Name: "Counts", Shape: idCounts},
	}
	for i := range every {
		every[i].Field = every[i].Name
	}
	return []Shape{
		{Type: Structure},
		idText:       {Name: "Text", Type: String, HasMin: true, Min: 1, HasMax: true, Max: 8, Pattern: `[a-z]+`},
		idFlag:       {Name: "Flag", Type: Boolean},
		idCount:      {Name: "Count", Type: Integer, HasMin: true, Min: 1, HasMax: true, Max: 250},
		idSize:       {Name: "Size", Type: Long},
		idRatio:      {Name: "Ratio", Type: Double, HasMax: true, Max: 2},
		idRaw:        {Name: "Raw", Type: Blob, HasMax: true, Max: 4},
		idWhen:       {Name: "When", Type: Timestamp},
		idEverything: {Name: "Everything", Type: Structure, Members: every},
		idNames:      {Name: "Names", Type: List, Elem: Ref{Shape: idText}, HasMax: true, Max: 3},
		idFlat:       {Name: "Flat", Type: List, Flattened: true, Elem: Ref{Shape: idBareText}},
		idNests:      {Name: "Nests", Type: List, Elem: Ref{Shape: idEverything}, HasMax: true, Max: 2},
		idLists:      {Name: "Lists", Type: List, Elem: Ref{Shape: idNames}},
		idMap:        {Name: "Map", Type: Map, Key: Ref{Shape: idText}, Elem: Ref{Shape: idText}},
		idFlatMap:    {Name: "FlatMap", Type: Map, Flattened: true, Key: Ref{Shape: idBareText}, Elem: Ref{Shape: idBareText}},
		idMaps:       {Name: "Maps", Type: Map, Key: Ref{Shape: idBareText}, Elem: Ref{Shape: idMap}},
		idKind:       {Name: "Kind", Type: String, Enum: []string{"A", "B"}},
		idSecret:     {Name: "Secret", Type: String, HasMin: true, Min: 8, Sensitive: true},
		idSecrets:    {Name: "Secrets", Type: List, Elem: Ref{Shape: idSecret}},
		idKinds:      {Name: "Kinds", Type: Map, Key: Ref{Shape: idKind}, Elem: Ref{Shape: idKind}},
		idDeep:       {Name: "Deep", Type: Map, Key: Ref{Shape: idBareText}, Elem: Ref{Shape: idEverything}},
		idCounts:     {Name: "Counts", Type: List, Elem: Ref{Shape: idCount}},
		idQueries:    {Name: "Queries", Type: Map, Key: Ref{Shape: idBareText}, Elem: Ref{Shape: idFlat}},
		idPlaced: {Name: "Placed", Type: Structure, Payload: "Document", Members: []Member{
			{Name: "Bucket", Field: "Bucket", Shape: idBareText, Location: URI, Required: true},
			{Name: "Key", Field: "Key", Shape: idBareText, Location: URI},
			{Name: "Count", Field: "Count", Shape: idCount, Location: Querystring, LocationName: "count"},
			{Name: "Counts", Field: "Counts", Shape: idCounts, Location: Querystring, LocationName: "n"},
			{Name: "Query", Field: "Query", Shape: idBareMap, Location: Querystring},
			{Name: "Queries", Field: "Queries", Shape: idQueries, Location: Querystring},
			{Name: "Header", Field: "Header", Shape: idBareText, Location: Header, LocationName: "x-header"},
			{Name: "Numbers", Field: "Numbers", Shape: idCounts, Location: Header, LocationName: "x-numbers"},
			{Name: "JSON", Field: "JSON", Shape: idBareText, Location: Header, LocationName: "x-json", JSONValue: true},
			{Name: "Meta", Field: "Meta", Shape: idBareMap, Location: Headers, LocationName: "x-meta-"},
			{Name: "Since", Field: "Since", Shape: idWhen, Location: Header, LocationName: "If-Modified-Since"},
			{Name: "Until", Field: "Until", Shape: idWhen, Location: Header, LocationName: "x-until"},
			{Name: "Status", Field: "Status", Shape: idCount, Location: StatusCode},
			{Name: "Document", Field: "Document", Shape: idEverything},
		}},
		idStream:   {Name: "Stream", Type: Blob},
		idStreamed: {Name: "Streamed", Type: Structure, Payload: "Body", Members: []Member{{Name: "Name", Field: "Name", Shape: idBareText, Location: Header, LocationName: "x-name"}, {Name: "Body", Field: "Body", Shape: idStream, Streaming: true, Required: true}}},
		idTexted:   {Name: "Texted", Type: Structure, Payload: "Policy", Members: []Member{{Name: "Policy", Field: "Policy", Shape: idBareText}}},
		idBlobbed:  {Name: "Blobbed", Type: Structure, Payload: "Data", Members: []Member{{Name: "Data", Field: "Data", Shape: idRaw}}},
		idAttributed: {Name: "Attributed", Type: Structure, XMLPrefix: "xsi", XMLNamespace: "http://xsi", Members: []Member{
			{Name: "Type", Field: "Type", Shape: idBareText, LocationName: "xsi:type", XMLAttribute: true},
			{Name: "ID", Field: "ID", Shape: idBareText, LocationName: "id", XMLAttribute: true},
			{Name: "Number", Field: "Number", Shape: idCount, LocationName: "n", XMLAttribute: true},
		}},
		idPlain:     {Name: "Plain", Type: Structure, Members: []Member{{Name: "Grantee", Field: "Grantee", Shape: idAttributed}}},
		idBareText:  {Name: "BareText", Type: String},
		idBareMap:   {Name: "BareMap", Type: Map, Key: Ref{Shape: idBareText}, Elem: Ref{Shape: idBareText}},
		idLabelled:  {Name: "Labelled", Type: Structure, Members: []Member{{Name: "Count", Field: "Count", Shape: idCount, Location: URI}}},
		idTop:       {Name: "Top", Type: Structure, Members: []Member{{Name: "Name", Field: "Name", Shape: idText, Required: true}, {Name: "Tags", Field: "Tags", Shape: idNests, Required: true}}},
		idBare:      {Name: "Bare", Type: Structure, Members: []Member{{Name: "Place", Field: "Place", Shape: idBareText}}},
		idBareNames: {Name: "BareNames", Type: List, Elem: Ref{Shape: idBareText}},
	}
}

func testService(p Protocol) *Service {
	return &Service{
		Name: "test", SigningName: "test", Protocol: p, APIVersion: "2020-01-01", TargetPrefix: "Test", XMLNamespace: "http://test/",
		MillisTime: p == RESTXML, StrictXML: p == RESTXML, Shapes: testShapes(),
		Operations: []Operation{
			{Name: "Echo", Method: "POST", URI: "/echo", Status: 200, Built: true, Input: idEverything, Output: idEverything, InputRoot: "Everything"},
			{Name: "Locate", Method: "PUT", URI: "/{Bucket}/{Key+}?locate", Status: 201, Built: true, Input: idPlaced, Output: idPlaced},
			{Name: "Stream", Method: "PUT", URI: "/stream", Status: 200, Built: true, Input: idStreamed, Output: idStreamed},
			{Name: "Text", Method: "PUT", URI: "/text", Status: 204, Built: true, Input: idTexted, Output: idTexted},
			{Name: "GetText", Method: "GET", URI: "/text", Status: 200, Built: true, Output: idTexted},
			{Name: "Blob", Method: "PUT", URI: "/blob", Status: 200, Built: true, Input: idBlobbed, Output: idBlobbed},
			{Name: "Grant", Method: "PUT", URI: "/grant", Status: 200, Built: true, Input: idPlain, Output: idPlain, OutputRoot: "Grant"},
			{Name: "Bare", Method: "GET", URI: "/bare", Status: 200, Built: true, Output: idBare, OutputRoot: "LocationConstraint", OutputUnwrapped: true},
			{Name: "Label", Method: "GET", URI: "/label/{Count}", Status: 200, Built: true, Input: idLabelled},
			{Name: "Top", Method: "POST", URI: "/top", Status: 200, Built: true, Input: idTop},
		},
	}
}
