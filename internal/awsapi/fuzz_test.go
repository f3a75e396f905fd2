package awsapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"testing"
	"unicode/utf8"
)

// fuzzDecode checks that a body is either refused with a fault or read into
// valid values, and that what was read is written and read again unchanged.
func fuzzDecode(f *testing.F, p Protocol, seeds ...string) {
	f.Helper()
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	rt := NewRouter(testService(p))
	b := rt.Binding("Echo")
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/echo"}, Header: http.Header{"X-Amz-Target": {"Test.Echo"}}}
		var in everything
		if err := b.Decode(r, body, nil, &in); err != nil {
			if _, ok := errors.AsType[*DecodeError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if in.Text != nil && (!utf8.ValidString(*in.Text) || *in.Text == "") || in.Count != nil && *in.Count < 1 {
			t.Fatalf("invalid values: %+v", in)
		}
		w := httptest.NewRecorder()
		if err := b.Encode(w, &in, "id"); err != nil {
			t.Fatal(err)
		}
		if p == RESTJSON {
			var again everything
			if !json.Valid(w.Body.Bytes()) {
				t.Fatalf("not JSON: %s", w.Body)
			}
			if in.Ratio != nil && *in.Ratio != *in.Ratio {
				return // not a number is not equal to itself
			}
			if err := b.Decode(r, w.Body.Bytes(), nil, &again); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			in.WhenISO, again.WhenISO = nil, nil // written without its milliseconds
			if in.Nested == nil && in.Nests == nil && in.Deep == nil && !reflect.DeepEqual(in, again) {
				t.Fatalf("%+v\n%+v", in, again)
			}
		}
	})
}

func FuzzJSON(f *testing.F) {
	fuzzDecode(f, RESTJSON, `{"Text":"a","Count":7,"Ratio":1.5e3,"Raw":"aGk=","When":1577934245.5,"Nests":[{"Text":"a"}],"Map":{"a":"b"},"Nulls":[null]}`,
		`{"Nested":{"Nested":{}},"Deep":{"x":{}}}`, `{"Text":"\ud800","Lists":[["a"]]}`, `{"Ratio":"NaN"}`)
}

func FuzzXML(f *testing.F) {
	fuzzDecode(f, RESTXML, `<?xml version="1.0"?><Everything xmlns="x"><Text>a</Text><Names><member>a</member></Names><Flat/><Map><entry><key>a</key><value>b</value></entry></Map></Everything>`,
		`<Everything><!--c--><Text><![CDATA[a]]></Text></Everything>`, `<!DOCTYPE x><Everything/>`)
}

func FuzzQuery(f *testing.F) {
	fuzzDecode(f, Query, `Action=Echo&Text=a&Names.member.1=a&Map.entry.1.key=a&Map.entry.1.value=b&Nested.Count=1`, `Names=&Flat.1=%41+b`, `Nests.member.1.Nests.member.1.Text=a`)
}

func FuzzRouter(f *testing.F) {
	for _, s := range []string{"/things/a%2Fb?x=y", "/b//k/../?uploadId=1&partNumber=2", "/?policy=", "/destinations/a/b", "/%zz"} {
		f.Add("PUT", s)
	}
	routers := []*Router{routes(RESTJSON), routes(RESTXML), buckets()}
	f.Fuzz(func(t *testing.T, method, target string) {
		for _, rt := range routers {
			r := &http.Request{Method: method, RequestURI: target, URL: &url.URL{}, Header: http.Header{}}
			b, params, err := rt.Match(r, RawPath(r), nil)
			if err != nil {
				if _, ok := errors.AsType[*DecodeError](err); !ok {
					t.Fatalf("%T: %v", err, err)
				}
				continue
			}
			if b.Method != method {
				t.Fatalf("%s is %s", b.Name, b.Method)
			}
			for _, p := range params {
				if p.Value == "" {
					t.Fatalf("%s has an empty %s", target, p.Name)
				}
			}
		}
	})
}
