package awsapi

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answer encodes out as the answer of an operation of the test service.
func answer(t *testing.T, p Protocol, operation string, out any) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := NewRouter(testService(p)).Binding(operation).Encode(w, out, "id-1"); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEncode(t *testing.T) {
	t.Parallel()
	when := time.Date(2020, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600))
	const declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	all := &everything{
		Text: new("a\"\\\n\r\t\x01é\xff<&>\u2028"), Flag: new(false), Count: new(int32(0)), Size: new(int64(-1)), Ratio: new(0.25), Raw: []byte{},
		When: &when, WhenISO: &when, Nested: &everything{}, Names: []string{}, Flat: []string{"x", "y"}, Nests: []everything{{Text: new("")}},
		Map: map[string]string{"b": "2", "a": "1"}, FlatMap: map[string]string{"b": "2", "a": "1"}, Nulls: []*string{nil}, NullMap: map[string]*string{"k": nil},
	}
	tests := []struct {
		protocol          Protocol
		operation         string
		out               any
		status            int
		contentType, body string
	}{
		{RESTJSON, "Echo", &everything{}, 200, "application/json", `{}`},
		{RESTJSON, "Label", &struct{}{}, 200, "application/json", `{}`},
		{AWSJSON, "Echo", &everything{Ratio: new(math.NaN())}, 200, "application/x-amz-json-1.0", `{"Ratio":"NaN"}`},
		{RESTJSON, "Echo", all, 200, "application/json", `{"Text":"a\"\\\n\r\t\u0001é` + "\uFFFD<&>\u2028" + `","Flag":false,"Count":0,"Size":-1,"Ratio":0.25,"Raw":"","When":1577930645.678,` +
			`"WhenISO":"2020-01-02T02:04:05Z","Nested":{},"Names":[],"Flat":["x","y"],"Nests":[{"Text":""}],"Map":{"a":"1","b":"2"},"FlatMap":{"a":"1","b":"2"},"Nulls":[null],"NullMap":{"k":null}}`},
		{Query, "Echo", &everything{Names: []string{"x"}}, 200, "text/xml", declaration +
			`<EchoResponse xmlns="http://test/"><Names><member>x</member></Names><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></EchoResponse>`},
		{RESTXML, "Echo", all, 200, "application/xml", declaration +
			`<EchoResult xmlns="http://test/"><Text>a&quot;\` + "\n" + `&#xD;` + "\t" + `&#x1;é` + "\uFFFD" + `&lt;&amp;&gt;&#x2028;</Text><Flag>false</Flag><Count>0</Count><Size>-1</Size><Ratio>0.25</Ratio><Raw></Raw>` +
			`<When>2020-01-02T02:04:05.678Z</When><WhenISO>2020-01-02T02:04:05.678Z</WhenISO><Nested></Nested><Names></Names><Flat>x</Flat><Flat>y</Flat><Nests><member><Text></Text></member></Nests>` +
			`<Map><entry><key>a</key><value>1</value></entry><entry><key>b</key><value>2</value></entry></Map><FlatMap><key>a</key><value>1</value></FlatMap><FlatMap><key>b</key><value>2</value></FlatMap>` +
			`<Nulls></Nulls><NullMap><entry><key>k</key></entry></NullMap></EchoResult>`},
		{RESTXML, "Grant", &plain{&attributed{Type: new("a\"b"), Number: new(int32(7))}}, 200, "application/xml", declaration +
			`<Grant xmlns="http://test/"><Grantee xmlns:xsi="http://xsi" xsi:type="a&quot;b" n="7"></Grantee></Grant>`},
		{RESTXML, "Bare", &bare{}, 200, "application/xml", declaration + `<LocationConstraint xmlns="http://test/"></LocationConstraint>`},
		{RESTXML, "Bare", &bare{new("r")}, 200, "application/xml", declaration + `<LocationConstraint xmlns="http://test/">r</LocationConstraint>`},
		{RESTXML, "Locate", &placed{Document: &everything{Flag: new(true)}}, 201, "application/xml", declaration + `<Document xmlns="http://test/"><Flag>true</Flag></Document>`},
		{RESTXML, "Locate", &placed{Status: new(int32(206))}, 206, "", ""},
		{RESTXML, "Label", &struct{}{}, 200, "", ""},
		{RESTXML, "Text", &texted{new("{}")}, 204, "application/json", ""},
		{RESTXML, "GetText", &texted{new("{}")}, 200, "application/json", "{}"},
		{RESTXML, "Blob", &blobbed{[]byte("x")}, 200, "application/octet-stream", "x"},
		{RESTJSON, "Blob", &blobbed{[]byte("x")}, 200, "application/octet-stream", "x"},
		{RESTJSON, "Blob", &blobbed{}, 200, "", ""},
		{RESTJSON, "Locate", &placed{Document: &everything{Flag: new(true)}}, 201, "application/json", `{"Flag":true}`},
		{RESTXML, "Stream", &streamed{Body: strings.NewReader("bytes")}, 200, "binary/octet-stream", "bytes"},
		{RESTXML, "Stream", &streamed{}, 200, "binary/octet-stream", ""},
	}
	for _, tt := range tests {
		w := answer(t, tt.protocol, tt.operation, tt.out)
		if w.Code != tt.status || w.Header().Get("Content-Type") != tt.contentType || w.Body.String() != tt.body {
			t.Errorf("%s %s: %d %s\n%s\nwant %d %s\n%s", tt.protocol, tt.operation, w.Code, w.Header().Get("Content-Type"), w.Body, tt.status, tt.contentType, tt.body)
		}
		id := "X-Amzn-Requestid"
		if tt.protocol == RESTXML {
			id = "X-Amz-Request-Id"
		}
		if w.Header().Get(id) != "id-1" {
			t.Errorf("%s %s: no request id", tt.protocol, tt.operation)
		}
	}
}

func TestEncodeHeaders(t *testing.T) {
	t.Parallel()
	when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	w := answer(t, RESTXML, "Locate", &placed{
		Header: new("a\r\nSet-Cookie: b\x7f\t"), Numbers: []int32{1, 2}, JSON: new(`{"a":1}`), Meta: map[string]string{"one": "1\n"}, Until: &when, Bucket: new("not a header"),
	})
	want := http.Header{
		"X-Header": {"a  Set-Cookie: b \t"}, "X-Numbers": {"1,2"}, "X-Json": {"eyJhIjoxfQ=="}, "X-Meta-One": {"1 "}, "X-Until": {"Thu, 02 Jan 2020 03:04:05 GMT"},
		"Content-Length": {"0"},
	}
	for name := range want {
		if got := w.Header().Get(name); got != want.Get(name) {
			t.Errorf("%s: %q, want %q", name, got, want.Get(name))
		}
	}
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Content-Type", "text/special")
	recorder.Header().Set("Content-Length", "7")
	for _, operation := range []string{"Echo", "Stream"} {
		out := map[string]any{"Echo": &everything{}, "Stream": &streamed{}}[operation]
		if err := NewRouter(testService(RESTJSON)).Binding(operation).Encode(recorder, out, "id"); err != nil {
			t.Fatal(err)
		}
	}
	if h := recorder.Header(); h.Get("Content-Type") != "text/special" || h.Get("Content-Length") != "7" {
		t.Errorf("the caller's headers were replaced: %v", h)
	}
}

// broken is a client that went away.
type broken struct{ http.ResponseWriter }

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestEncodeToNobody(t *testing.T) {
	t.Parallel()
	rt := NewRouter(testService(RESTJSON))
	w := broken{httptest.NewRecorder()}
	if rt.Binding("Echo").Encode(w, &everything{}, "id") == nil || rt.Binding("Stream").Encode(w, &streamed{Body: strings.NewReader("x")}, "id") == nil {
		t.Error("no error")
	}
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	const declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	tests := []struct {
		protocol          Protocol
		err               APIError
		contentType, body string
	}{
		{Query, APIError{Code: "NoSuchEntity", Status: 404, Message: "no <role>"}, "text/xml", declaration +
			`<ErrorResponse xmlns="http://test/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>no &lt;role&gt;</Message></Error><RequestId>id-1</RequestId></ErrorResponse>`},
		{Query, APIError{Code: "ServiceFailure", Status: 500}, "text/xml", declaration +
			`<ErrorResponse xmlns="http://test/"><Error><Type>Receiver</Type><Code>ServiceFailure</Code><Message></Message></Error><RequestId>id-1</RequestId></ErrorResponse>`},
		{Query, APIError{Code: "ValidationError", Status: 400, Message: "a\x00\x01\ufffe\t\r\nb"}, "text/xml", declaration +
			"<ErrorResponse xmlns=\"http://test/\"><Error><Type>Sender</Type><Code>ValidationError</Code><Message>a\ufffd\ufffd\ufffd\t&#xD;\nb</Message></Error><RequestId>id-1</RequestId></ErrorResponse>"},
		{RESTJSON, APIError{Code: "ResourceNotFoundException", Status: 404, Message: `no "thing"`}, "application/json", `{"message":"no \"thing\""}`},
		{RESTJSON, APIError{Code: "ResourceAlreadyExistsException", Status: 409, Message: "m", ResourceID: "i", ResourceARN: "a"}, "application/json", `{"message":"m","resourceId":"i","resourceArn":"a"}`},
		{AWSJSON, APIError{Code: "ValidationException", Status: 400, Message: "m"}, "application/x-amz-json-1.0", `{"__type":"ValidationException","message":"m"}`},
		{RESTXML, APIError{Code: "NoSuchKey", Status: 404, Message: "m", Resource: "/b/k\x1f", Fields: []Param{{"Region", "r\x02"}}}, "application/xml", declaration +
			`<Error><Code>NoSuchKey</Code><Message>m</Message><Region>r�</Region><Resource>/b/k�</Resource><RequestId>id-1</RequestId><HostId>` + hostID("id-1") + `</HostId></Error>`},
		{RESTXML, APIError{Code: "NotModified", Status: 304}, "application/xml", ""},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Length", "9999")
		if err := WriteError(w, testService(tt.protocol), "id-1", tt.err); err != nil {
			t.Fatal(err)
		}
		if w.Code != tt.err.Status || w.Header().Get("Content-Type") != tt.contentType || w.Body.String() != tt.body {
			t.Errorf("%d %s\n%s\nwant %d %s\n%s", w.Code, w.Header().Get("Content-Type"), w.Body, tt.err.Status, tt.contentType, tt.body)
		}
		if got := w.Header().Get("X-Amzn-Errortype"); (tt.protocol == RESTJSON) != (got == tt.err.Code) {
			t.Errorf("error type %q", got)
		}
		if w.Header().Get("Content-Length") == "9999" {
			t.Error("the length of another answer was kept")
		}
	}
}
