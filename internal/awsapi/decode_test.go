package awsapi

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// call matches and decodes one request to the test service.
func call(t *testing.T, p Protocol, method, target, body string, in any, headers ...string) error {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	b, params, err := NewRouter(testService(p)).Match(r, RawPath(r), []byte(body))
	if err != nil {
		return err
	}
	return b.Decode(r, []byte(body), params, in)
}

func echo(t *testing.T, p Protocol, body string) (everything, error) {
	t.Helper()
	var in everything
	switch p {
	case AWSJSON:
		return in, call(t, p, http.MethodPost, "/", body, &in, "X-Amz-Target", "Test.Echo")
	case Query:
		return in, call(t, p, http.MethodPost, "/", "Action=Echo&"+body, &in)
	case RESTJSON, RESTXML:
	}
	err := call(t, p, http.MethodPost, "/echo", body, &in)
	return in, err
}

// wantFault checks that err is a fault of this kind at this member.
func wantFault(t *testing.T, err error, f Fault, member string) DecodeError {
	t.Helper()
	e, ok := errors.AsType[*DecodeError](err)
	if !ok {
		t.Fatalf("got %v, want a fault", err)
	}
	if e.Fault != f || e.Member != member {
		t.Errorf("fault %d at %q (%s), want %d at %q", e.Fault, e.Member, e.Error(), f, member)
	}
	return *e
}

func TestRefusedBodies(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"Nested":`, 70) + "{}" + strings.Repeat("}", 70)
	deepXML := strings.Repeat("<Nested>", 70) + strings.Repeat("</Nested>", 70)
	tests := []struct {
		name     string
		protocol Protocol
		body     string
		fault    Fault
		member   string
	}{
		{"syntax", RESTJSON, `{`, FaultSyntax, ""},
		{"trailing", RESTJSON, `{} {}`, FaultSyntax, ""},
		{"utf8", RESTJSON, "{\"Text\":\"\xff\"}", FaultSyntax, ""},
		{"depth", RESTJSON, deep, FaultTooLarge, ""},
		{"array as document", RESTJSON, `[]`, FaultType, ""},
		{"null document", RESTJSON, `null`, FaultType, ""},
		{"number as string", RESTJSON, `{"Text":1}`, FaultType, "Text"},
		{"object as string", RESTJSON, `{"Text":{}}`, FaultType, "Text"},
		{"string as number", RESTJSON, `{"Count":"1"}`, FaultType, "Count"},
		{"fraction as integer", RESTJSON, `{"Count":1.5}`, FaultType, "Count"},
		{"too large for 32 bits", RESTJSON, `{"Count":4294967296}`, FaultType, "Count"},
		{"too large for 64 bits", RESTJSON, `{"Size":9223372036854775808}`, FaultType, "Size"},
		{"boolean as number", RESTJSON, `{"Count":true}`, FaultType, "Count"},
		{"string as boolean", RESTJSON, `{"Flag":"true"}`, FaultType, "Flag"},
		{"number as boolean", RESTJSON, `{"Flag":1}`, FaultType, "Flag"},
		{"double too large", RESTJSON, `{"Ratio":1e999}`, FaultType, "Ratio"},
		{"double as string", RESTJSON, `{"Ratio":"1.5"}`, FaultType, "Ratio"},
		{"double as word", RESTJSON, `{"Ratio":"many"}`, FaultType, "Ratio"},
		{"bad base64", RESTJSON, `{"Raw":"%"}`, FaultType, "Raw"},
		{"date for epoch", RESTJSON, `{"When":"2020-01-01T00:00:00Z"}`, FaultType, "When"},
		{"epoch for date", RESTJSON, `{"WhenISO":1}`, FaultType, "WhenISO"},
		{"bad date", RESTJSON, `{"WhenISO":"yesterday"}`, FaultType, "WhenISO"},
		{"epoch out of range", RESTJSON, `{"When":1e15}`, FaultType, "When"},
		{"string as list", RESTJSON, `{"Names":"a"}`, FaultType, "Names"},
		{"null in list", RESTJSON, `{"Names":[null]}`, FaultType, "Names.1.member"},
		{"list as map", RESTJSON, `{"Map":[]}`, FaultType, "Map"},
		{"number in map", RESTJSON, `{"Map":{"a":1}}`, FaultType, "Map.a"},
		{"nested", RESTJSON, `{"Nested":{"Nests":[{},{"Count":"x"}]}}`, FaultType, "Nested.Nests.2.member.Count"},
		{"boolean as structure", RESTJSON, `{"Nested":true}`, FaultType, "Nested"},
		{"aws-json", AWSJSON, `{"Text":1}`, FaultType, "Text"},

		{"xml syntax", RESTXML, `<Everything>`, FaultSyntax, ""},
		{"xml empty", RESTXML, ` `, FaultSyntax, ""},
		{"xml doctype", RESTXML, `<!DOCTYPE a><Everything/>`, FaultSyntax, ""},
		{"xml entity", RESTXML, `<Everything>&lol;</Everything>`, FaultSyntax, ""},
		{"xml instruction", RESTXML, `<?php x?><Everything/>`, FaultSyntax, ""},
		{"xml encoding", RESTXML, `<?xml version="1.0" encoding="latin1"?><Everything/>`, FaultSyntax, ""},
		{"xml two roots", RESTXML, `<Everything/><Everything/>`, FaultSyntax, ""},
		{"xml text outside", RESTXML, `x<Everything/>`, FaultSyntax, ""},
		{"xml root", RESTXML, `<Nothing/>`, FaultSyntax, ""},
		{"xml depth", RESTXML, deepXML, FaultTooLarge, ""},
		{"xml elements", RESTXML, "<Everything>" + strings.Repeat("<a/>", maxElements) + "</Everything>", FaultTooLarge, ""},
		{"xml unknown", RESTXML, `<Everything><Odd/></Everything>`, FaultSyntax, "Odd"},
		{"xml text inside", RESTXML, `<Everything>text</Everything>`, FaultSyntax, ""},
		{"xml twice", RESTXML, `<Everything><Text>a</Text><Text>b</Text></Everything>`, FaultSyntax, "Text"},
		{"xml element in text", RESTXML, `<Everything><Text><b/></Text></Everything>`, FaultSyntax, "Text"},
		{"xml number", RESTXML, `<Everything><Count>x</Count></Everything>`, FaultType, "Count"},
		{"xml list", RESTXML, `<Everything><Names><member>a</member><other/></Names></Everything>`, FaultSyntax, "Names"},
		{"xml list element", RESTXML, `<Everything><Counts><member>a</member></Counts></Everything>`, FaultType, "Counts.1.member"},
		{"xml flat list element", RESTXML, `<Everything><Flat><b/></Flat></Everything>`, FaultSyntax, "Flat.1.member"},
		{"xml map without value", RESTXML, `<Everything><Map><entry><key>a</key></entry></Map></Everything>`, FaultSyntax, "Map.1.member"},
		{"xml map with bad key", RESTXML, `<Everything><FlatMap><key><b/></key><value>v</value></FlatMap></Everything>`, FaultSyntax, "FlatMap.1.member"},
		{"xml map with bad value", RESTXML, `<Everything><FlatMap><key>k</key><value><b/></value></FlatMap></Everything>`, FaultSyntax, "FlatMap.1.member"},

		{"form encoding", Query, `Text=%zz`, FaultSyntax, ""},
		{"form depth", Query, strings.Repeat("a.", 40) + "=1", FaultTooLarge, ""},
		{"form parameters", Query, strings.Repeat("&", maxFormParams+1), FaultTooLarge, ""},
		{"form twice", Query, `Text=a&Text=b`, FaultSyntax, "Text"},
		{"form utf8", Query, `Text=%ff`, FaultType, "Text"},
		{"form number", Query, `Count=x`, FaultType, "Count"},
		{"form structure with value", Query, `Nested=x`, FaultSyntax, "Nested"},
		{"form scalar with children", Query, `Text.a=x`, FaultSyntax, "Text"},
		{"form list with value", Query, `Names=x`, FaultSyntax, "Names"},
		{"form list without member", Query, `Names.1=x`, FaultSyntax, "Names"},
		{"form list index", Query, `Names.member.x=x`, FaultSyntax, "Names"},
		{"form list index zero", Query, `Names.member.0=x`, FaultSyntax, "Names"},
		{"form list index with zeros", Query, `Names.member.01=x`, FaultSyntax, "Names"},
		{"form list element", Query, `Counts.member.1=x`, FaultType, "Counts.1.member"},
		{"form nested list", Query, `Lists.member.1=x`, FaultSyntax, "Lists.1.member"},
		{"form map with value", Query, `Map=x`, FaultSyntax, "Map"},
		{"form map without key", Query, `Map.entry.1.value=x`, FaultSyntax, "Map.1.member"},
		{"form map key", Query, `Map.entry.1.key.a=x&Map.entry.1.value=x`, FaultSyntax, "Map.1.member"},
		{"form map value", Query, `Map.entry.1.key=x&Map.entry.1.value.a=x`, FaultSyntax, "Map.1.member"},
		{"form nested map", Query, `Maps.entry.1.key=x&Maps.entry.1.value=x`, FaultSyntax, "Maps.1.member"},
		{"form nested structure", Query, `Nested.Count=x`, FaultType, "Nested.Count"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := echo(t, tt.protocol, tt.body)
			wantFault(t, err, tt.fault, tt.member)
		})
	}
}

func TestOversizeBodies(t *testing.T) {
	t.Parallel()
	large := strings.Repeat(" ", defaultMaxBody+1)
	for _, p := range []Protocol{Query, RESTJSON, AWSJSON} {
		_, err := echo(t, p, large)
		wantFault(t, err, FaultTooLarge, "")
	}
	_, err := echo(t, RESTXML, large)
	wantFault(t, err, FaultSyntax, "")
	_, err = echo(t, RESTXML, strings.Repeat(large, 4))
	wantFault(t, err, FaultTooLarge, "")
	lambda := Binding{Operation: &Operation{}, Service: &Service{Name: "lambda"}}
	if got := lambda.MaxBody(); got != 72<<20 {
		t.Errorf("lambda reads %d bytes", got)
	}
}

func TestAcceptedBodies(t *testing.T) {
	t.Parallel()
	day := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	half := time.Date(2020, 1, 2, 3, 4, 5, 500e6, time.UTC)
	text, other, yes, count, size, ratio, inf := "a", "b", true, int32(7), int64(-1), 1.5, math.Inf(-1)
	all := everything{
		Text: &text, Flag: &yes, Count: &count, Size: &size, Ratio: &ratio, Raw: []byte("hi"), When: &day, WhenISO: &half,
		Nested: &everything{}, Names: []string{text, other}, Flat: []string{text}, Nests: []everything{{Text: &text}},
		Lists: [][]string{{text}}, Map: map[string]string{text: other}, FlatMap: map[string]string{text: other},
		Maps: map[string]map[string]string{text: {text: other}}, Deep: map[string]everything{"x": {Text: &text}},
	}
	tests := []struct {
		name     string
		protocol Protocol
		body     string
		want     everything
	}{
		{"nothing", RESTJSON, "", everything{}},
		{
			"nulls", RESTJSON, `{"Text":null,"Unknown":{"a":[1]},"Nulls":[null,"a"],"NullMap":{"k":null,"l":"a"}}`,
			everything{Nulls: []*string{nil, &text}, NullMap: map[string]*string{"k": nil, "l": &text}},
		},
		{"last of two", RESTJSON, `{"Text":"b","Text":"a"}`, everything{Text: &text}},
		{"infinity", RESTJSON, `{"Ratio":"-Infinity"}`, everything{Ratio: &inf}},
		{"escapes", RESTJSON, `{"Kind":"A","Secrets":["\u0022{[\\{[xy"]}`, everything{Kind: new("A"), Secrets: []string{`"{[\{[xy`}}},
		{"all", RESTJSON, `{"Text":"a","Flag":true,"Count":7,"Size":-1,"Ratio":1.5,"Raw":"aGk=","When":1577934245,"WhenISO":"2020-01-02T03:04:05.5Z",
			"Nested":{},"Names":["a","b"],"Flat":["a"],"Nests":[{"Text":"a"}],"Lists":[["a"]],"Map":{"a":"b"},"FlatMap":{"a":"b"},"Maps":{"a":{"a":"b"}},"Deep":{"x":{"Text":"a"}}}`, all},
		{"all", RESTXML, `<?xml version="1.0"?><!-- c --><Everything xmlns="http://other/"><Text>a</Text><Flag> true </Flag><Count>7</Count><Size>-1</Size><Ratio>1.5</Ratio><Raw>aGk=</Raw>
			<When>2020-01-02T03:04:05Z</When><WhenISO>2020-01-02T12:04:05.5+09:00</WhenISO><Nested/><Names><member>a</member><member>b</member></Names><Flat>a</Flat>
			<Nests><member><Text><![CDATA[a]]></Text></member></Nests><Lists><member><member>a</member></member></Lists><Map><entry><key>a</key><value>b</value></entry></Map>
			<FlatMap><key>a</key><value>b</value></FlatMap><Maps><entry><key>a</key><value><entry><key>a</key><value>b</value></entry></value></entry></Maps>
			<Deep><entry><key>x</key><value><Text>a</Text></value></entry></Deep></Everything>`, all},
		{"all", Query, "Version=2020-01-01&Text=a&Flag=true&Count=7&Size=-1&Ratio=1.5&Raw=aGk%3D&When=2020-01-02T03%3A04%3A05Z&WhenISO=2020-01-02T03:04:05.5Z&Nested=&" +
			"Names.member.1=a&Names.member.3=b&Flat.1=a&Nests.member.1.Text=a&Lists.member.1.member.1=a&Map.entry.1.key=a&Map.entry.1.value=b&FlatMap.1.key=a&FlatMap.1.value=b&" +
			"Maps.entry.1.key=a&Maps.entry.1.value.entry.1.key=a&Maps.entry.1.value.entry.1.value=b&Deep.entry.1.key=x&Deep.entry.1.value.Text=a&Unknown.a=1", all},
		{"empty list", Query, "Names=", everything{Names: []string{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.protocol.String(), func(t *testing.T) {
			t.Parallel()
			got, err := echo(t, tt.protocol, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, tt.want)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	var in placed
	err := call(t, RESTXML, http.MethodPut, "/b%2F1//k/%2e./?locate=&count=5&n=1&n=2&x=y&x=z&y=w", "", &in,
		"x-header", " a ", "X-Header", "b", "x-numbers", "1, 2,", "X-Numbers", "3", "x-json", "eyJhIjoxfQ==", "x-meta-One", "1", "X-Meta-One", "2", "x-meta-", "none",
		"If-Modified-Since", "yesterday", "x-until", "Sun, 06 Nov 1994 08:49:37 GMT")
	if err != nil {
		t.Fatal(err)
	}
	want := placed{
		Bucket: new("b/1"), Key: new("/k/../"), Count: new(int32(5)), Counts: []int32{1, 2},
		Query:   map[string]string{"count": "5", "n": "1", "x": "y", "y": "w"},
		Queries: map[string][]string{"count": {"5"}, "n": {"1", "2"}, "x": {"y", "z"}, "y": {"w"}},
		Header:  new("a ,b"), Numbers: []int32{1, 2, 3}, JSON: new(`{"a":1}`), Meta: map[string]string{"one": "1,2"},
		Until: new(time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)),
	}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got\n%+v\nwant\n%+v", in, want)
	}
	var document placed
	if err := call(t, RESTXML, http.MethodPut, "/b/k?locate", "<Document><Text>a</Text></Document>", &document); err != nil || *document.Document.Text != "a" {
		t.Errorf("%v %+v", err, document.Document)
	}
}

func TestRefusedPlaces(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target   string
		headers  []string
		fault    Fault
		member   string
		location Location
	}{
		{"/b/k?locate&%zz", nil, FaultSyntax, "", Querystring},
		{"/b/%zz?locate", nil, FaultSyntax, "Key", URI},
		{"/b/%ff?locate", nil, FaultType, "Key", URI},
		{"/b/k?locate&count=1&count=2", nil, FaultSyntax, "Count", Querystring},
		{"/b/k?locate&count=x", nil, FaultType, "Count", Querystring},
		{"/b/k?locate&n=x", nil, FaultType, "Counts", Querystring},
		{"/b/k?locate&%ff=x", nil, FaultType, "Query", Querystring},
		{"/b/k?locate&x=%ff", nil, FaultType, "Query", Querystring},
		{"/b/k?locate&x=a&x=%ff", nil, FaultType, "Queries", Querystring},
		{"/b/k?locate", []string{"x-header", "\xff"}, FaultType, "Header", Header},
		{"/b/k?locate", []string{"x-numbers", "1,x"}, FaultType, "Numbers", Header},
		{"/b/k?locate", []string{"x-json", "{}"}, FaultType, "JSON", Header},
		{"/b/k?locate", []string{"x-json", "eyI="}, FaultType, "JSON", Header},
		{"/b/k?locate", []string{"x-meta-a", "\xff"}, FaultType, "Meta", Headers},
		{"/b/k?locate", []string{"x-until", "yesterday"}, FaultType, "Until", Header},
		{"/b/k?locate&count=0", nil, FaultConstraint, "Count", Querystring},
	}
	for _, tt := range tests {
		r := &http.Request{Method: http.MethodPut, RequestURI: tt.target, URL: &url.URL{}, Header: http.Header{}}
		for i := 0; i < len(tt.headers); i += 2 {
			r.Header.Add(tt.headers[i], tt.headers[i+1])
		}
		b, params, err := NewRouter(testService(RESTXML)).Match(r, RawPath(r), nil)
		if err == nil {
			err = b.Decode(r, nil, params, &placed{})
		}
		if e := wantFault(t, err, tt.fault, tt.member); e.Location != tt.location {
			t.Errorf("%s: location %d, want %d", tt.target, e.Location, tt.location)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", nil)
	form := NewRouter(testService(Query)).Binding("Echo")
	wantFault(t, form.Decode(&http.Request{URL: &url.URL{RawQuery: "%zz"}}, nil, nil, &everything{}), FaultSyntax, "")
	b := NewRouter(testService(RESTXML)).Binding("Locate")
	wantFault(t, b.Decode(r, nil, nil, &placed{}), FaultMissing, "Bucket")
	r.RequestURI = "/?%zz"
	wantFault(t, b.Decode(r, nil, nil, &placed{}), FaultSyntax, "")
	wantFault(t, call(t, RESTJSON, http.MethodGet, "/label/x", "", &labelled{}), FaultType, "Count")
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	var text texted
	if err := call(t, RESTXML, http.MethodPut, "/text", "{}", &text); err != nil || *text.Policy != "{}" {
		t.Errorf("%v %v", err, text.Policy)
	}
	wantFault(t, call(t, RESTXML, http.MethodPut, "/text", "\xff", &text), FaultType, "Policy")
	var blob blobbed
	if err := call(t, RESTJSON, http.MethodPut, "/blob", "\xff", &blob); err != nil || string(blob.Data) != "\xff" {
		t.Errorf("%v %q", err, blob.Data)
	}
	wantFault(t, call(t, RESTJSON, http.MethodPut, "/blob", "12345", &blob), FaultConstraint, "data")
	var stream streamed
	if err := call(t, RESTXML, http.MethodPut, "/stream", "ignored", &stream, "x-name", "n"); err != nil || stream.Body != nil || *stream.Name != "n" {
		t.Errorf("%v %+v", err, stream)
	}
	var grant plain
	grantBody := `<Grant xmlns:xsi="http://xsi"><Grantee xsi:type="User" id="7"/></Grant>`
	if err := call(t, RESTXML, http.MethodPut, "/grant", grantBody, &grant); err != nil || *grant.Grantee.Type != "User" || *grant.Grantee.ID != "7" {
		t.Errorf("%v %+v", err, grant.Grantee)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/grant", nil)
	b := NewRouter(testService(RESTXML)).Binding("Grant")
	bad := `<Grant><Grantee><id>x</id></Grantee></Grant>`
	wantFault(t, b.Decode(r, []byte(bad), nil, &grant), FaultSyntax, "Grantee.id")
	bad = `<Grant><Grantee n="x"/></Grant>`
	wantFault(t, b.Decode(r, []byte(bad), nil, &grant), FaultType, "Grantee.Number")
}

func TestBody(t *testing.T) {
	t.Parallel()
	rt := NewRouter(testService(RESTXML))
	var in streamed
	reader := strings.NewReader("x")
	if err := rt.Binding("Stream").Body(&in, reader); err != nil || in.Body != reader {
		t.Errorf("%v %v", err, in.Body)
	}
	if err := rt.Binding("Text").Body(&texted{}, reader); err != nil {
		t.Error(err)
	}
	if rt.Binding("Stream").Body(in, reader) == nil {
		t.Error("a struct by value was accepted")
	}
	if !rt.Binding("Stream").StreamsInput() || rt.Binding("Text").StreamsInput() || rt.Binding("Echo").StreamsInput() {
		t.Error("StreamsInput is wrong")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	rt := NewRouter(testService(RESTJSON))
	echo := rt.Binding("Echo")
	if err := echo.Check(&everything{}, &everything{}); err != nil {
		t.Error(err)
	}
	type wrong struct{ Name *string }
	type notReader struct {
		Name *string
		Body []byte
	}
	for _, bad := range []any{
		nil,
		everything{},
		(*everything)(nil), new("x"), &wrong{}, &struct{ everything }{},
		otherwise("Map", map[int]string{}), otherwise("Names", []int{}), otherwise("Maps", map[string]string{}), otherwise("FlatMap", map[string]int{}),
	} {
		if echo.Check(bad, &everything{}) == nil || echo.Check(&everything{}, bad) == nil {
			t.Errorf("%T fits", bad)
		}
	}
	if rt.Binding("Stream").Check(&notReader{}, &streamed{}) == nil {
		t.Error("a byte slice streams")
	}
	if err := echo.Decode(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil), nil, nil, &wrong{}); err == nil {
		t.Error("Decode took a foreign struct")
	}
	if err := echo.Encode(httptest.NewRecorder(), &wrong{}, "id"); err == nil {
		t.Error("Encode took a foreign struct")
	}
	svc := testService(RESTJSON)
	svc.Shapes[idText].Pattern = "("
	if NewRouter(svc).Binding("Echo").Check(&everything{}, &everything{}) == nil {
		t.Error("a broken pattern was accepted")
	}
	svc.Shapes[idText] = Shape{Name: "Untyped"}
	if NewRouter(svc).Binding("Echo").Check(&everything{}, &everything{}) == nil {
		t.Error("a shape without a type was accepted")
	}
}

// otherwise is a pointer to everything with another type of one field.
func otherwise(field string, v any) any {
	var fields []reflect.StructField
	for f := range reflect.TypeFor[everything]().Fields() {
		if f.Name == field {
			f.Type = reflect.TypeOf(v)
		}
		fields = append(fields, f)
	}
	return reflect.New(reflect.StructOf(fields)).Interface()
}
