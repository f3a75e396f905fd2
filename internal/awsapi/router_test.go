package awsapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// routes is a REST service with the shapes of paths that AWS's have.
func routes(p Protocol) *Router {
	return NewRouter(&Service{Name: "routes", Protocol: p, Shapes: []Shape{{Type: Structure}}, Operations: []Operation{
		{Name: "Root", Method: "GET", URI: "/"},
		{Name: "ListThings", Method: "GET", URI: "/things"},
		{Name: "GetThing", Method: "GET", URI: "/things/{thing}"},
		{Name: "Special", Method: "POST", URI: "/things/special"},
		{Name: "PutThing", Method: "PUT", URI: "/things/{thing}"},
		{Name: "Next", Method: "PUT", URI: "/things/{thing}/jobs/$next"},
		{Name: "Job", Method: "GET", URI: "/things/{thing}/jobs/{job}"},
		{Name: "Slash", Method: "GET", URI: "/authorizers/"},
		{Name: "Attached", Method: "POST", URI: "/attached/{target}"},
		{Name: "Destination", Method: "GET", URI: "/destinations/{arn+}"},
		{Name: "Old", Method: "GET", URI: "/destinations/{arn+}", Unrouted: true},
	}})
}

func TestMatchPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, path, operation string
		params                  []string
	}{
		{"GET", "/", "Root", nil},
		{"GET", "/things", "ListThings", nil},
		{"GET", "/things/", "ListThings", nil},
		{"GET", "/things/a%20b%2Fc", "GetThing", []string{"a b/c"}},
		{"GET", "/things/special", "GetThing", []string{"special"}},
		{"POST", "/things/special", "Special", nil},
		{"PUT", "/things/t/jobs/$next", "Next", []string{"t"}},
		{"GET", "/things/t/jobs/$next", "Job", []string{"t", "$next"}},
		{"GET", "/authorizers", "Slash", nil},
		{"GET", "/authorizers/", "Slash", nil},
		{"POST", "/attached/arn%3Aaws%3Aiot%3Ar%3A1%3Acert%2Fabc", "Attached", []string{"arn:aws:iot:r:1:cert/abc"}},
		{"GET", "/destinations/arn:aws/x/y", "Destination", []string{"arn:aws/x/y"}},
		{"GET", "/destinations/arn:aws/x%2Fy/", "Destination", []string{"arn:aws/x/y/"}},
	}
	for _, p := range []Protocol{RESTJSON, RESTXML} {
		rt := routes(p)
		for _, tt := range tests {
			b, params, err := rt.Match(httptest.NewRequestWithContext(t.Context(), tt.method, "/", nil), tt.path, nil)
			if err != nil {
				t.Errorf("%s %s: %v", tt.method, tt.path, err)
				continue
			}
			var values []string
			for _, p := range params {
				values = append(values, p.Value)
			}
			if b.Name != tt.operation || strings.Join(values, "|") != strings.Join(tt.params, "|") {
				t.Errorf("%s %s: %s %q, want %s %q", tt.method, tt.path, b.Name, values, tt.operation, tt.params)
			}
		}
		for path, f := range map[string]Fault{"/nothing": FaultOperation, "/things/t/jobs": FaultOperation, "/attached/x": FaultMethod, "//x": FaultOperation, "/destinations": FaultOperation} {
			_, _, err := rt.Match(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), path, nil)
			wantFault(t, err, f, "")
		}
	}
}

// buckets has the families of S3's operations that share a path.
func buckets() *Router {
	upload := []string{"partNumber", "uploadId"}
	source := []string{"x-amz-copy-source"}
	return NewRouter(&Service{Name: "s3", Protocol: RESTXML, Shapes: []Shape{{Type: Structure}}, Operations: []Operation{
		{Name: "CreateBucket", Method: "PUT", URI: "/{Bucket}"},
		{Name: "ListObjects", Method: "GET", URI: "/{Bucket}"},
		{Name: "ListObjectsV2", Method: "GET", URI: "/{Bucket}?list-type=2"},
		{Name: "GetBucketPolicy", Method: "GET", URI: "/{Bucket}?policy"},
		{Name: "PutBucketAnalytics", Method: "PUT", URI: "/{Bucket}?analytics", RequiredQuery: []string{"id"}},
		{Name: "PutObject", Method: "PUT", URI: "/{Bucket}/{Key+}", ForbiddenQuery: upload},
		{Name: "CopyObject", Method: "PUT", URI: "/{Bucket}/{Key+}", ForbiddenQuery: upload, RequiredHeaders: source},
		{Name: "UploadPart", Method: "PUT", URI: "/{Bucket}/{Key+}", RequiredQuery: upload},
		{Name: "UploadPartCopy", Method: "PUT", URI: "/{Bucket}/{Key+}", RequiredQuery: upload, RequiredHeaders: source},
		{Name: "PutObjectAcl", Method: "PUT", URI: "/{Bucket}/{Key+}?acl"},
	}})
}

func TestMatchQuery(t *testing.T) {
	t.Parallel()
	rt := buckets()
	for _, tt := range []struct{ method, target, source, operation string }{
		{"PUT", "/b", "", "CreateBucket"},
		{"PUT", "/b/", "", "CreateBucket"},
		{"PUT", "/b?x-id=CreateBucket", "", "CreateBucket"},
		{"PUT", "/b?analytics", "", ""},
		{"PUT", "/b?analytics&id=1", "", "PutBucketAnalytics"},
		{"PUT", "/b?policy", "", ""},
		{"GET", "/b", "", "ListObjects"},
		{"GET", "/b?list-type=1", "", "ListObjects"},
		{"GET", "/b?list-type=2&prefix=a", "", "ListObjectsV2"},
		{"GET", "/b?policy=", "", "GetBucketPolicy"},
		{"GET", "/b?policy&acl", "", ""},
		{"GET", "/b?acl", "", ""},
		{"PUT", "/b/k", "", "PutObject"},
		{"PUT", "/b/k/", "", "PutObject"},
		{"PUT", "/b/k?x-id=PutObject", "", "PutObject"},
		{"PUT", "/b/k", "a/b", "CopyObject"},
		{"PUT", "/b/k", " ", "CopyObject"},
		{"PUT", "/b/k?uploadId=u&partNumber=1", "", "UploadPart"},
		{"PUT", "/b/k?uploadId=u&partNumber=1", "a/b", "UploadPartCopy"},
		{"PUT", "/b/k?uploadId=u", "", ""},
		{"PUT", "/b/k?partNumber=1", "a/b", ""},
		{"PUT", "/b/k?acl", "", "PutObjectAcl"},
		{"PUT", "/b/k?acl", "a/b", "PutObjectAcl"},
		{"DELETE", "/b", "", ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.target, nil)
		if tt.source != "" {
			r.Header.Set("X-Amz-Copy-Source", tt.source)
		}
		b, _, err := rt.Match(r, RawPath(r), nil)
		got := ""
		if err == nil {
			got = b.Name
		}
		if got != tt.operation {
			t.Errorf("%s %s %q: %q (%v), want %q", tt.method, tt.target, tt.source, got, err, tt.operation)
		}
	}
}

func TestMatchAction(t *testing.T) {
	t.Parallel()
	rt := NewRouter(testService(Query))
	match := func(method, target, body string) (*Binding, error) {
		b, _, err := rt.Match(httptest.NewRequestWithContext(t.Context(), method, target, nil), "/", []byte(body))
		return b, err
	}
	for _, tt := range []struct{ method, target, body string }{
		{"POST", "/", "Action=Echo&Version=2020-01-01"},
		{"POST", "/?Action=Echo", "Version=2020-01-01"},
		{"GET", "/?Action=Echo&Version=2020-01-01&X-Amz-Date=1&X-Amz-Date=2", ""},
	} {
		if b, err := match(tt.method, tt.target, tt.body); err != nil || b.Name != "Echo" {
			t.Errorf("%v: %v", tt, err)
		}
	}
	_, err := match("POST", "/", "")
	wantFault(t, err, FaultOperation, "")
	_, err = match("POST", "/", "Action="+strings.Repeat("x", 200))
	if e := wantFault(t, err, FaultOperation, ""); len(e.Message) > 200 {
		t.Errorf("a message of %d bytes", len(e.Message))
	}
	_, err = match("POST", "/", "Action=Echo&Version=1999-01-01")
	if e := wantFault(t, err, FaultOperation, ""); e.Message != "Could not find operation Echo for version 1999-01-01" {
		t.Error(e.Message)
	}
	_, err = match("POST", "/?Action=Echo", "Action=Top")
	wantFault(t, err, FaultSyntax, "Action")
	_, err = match("PUT", "/?Action=Echo", "")
	wantFault(t, err, FaultMethod, "")
}

func TestMatchTarget(t *testing.T) {
	t.Parallel()
	rt := NewRouter(testService(AWSJSON))
	match := func(method, target string) (*Binding, error) {
		r := httptest.NewRequestWithContext(t.Context(), method, "/", nil)
		r.Header.Set("X-Amz-Target", target)
		b, _, err := rt.Match(r, "/", nil)
		return b, err
	}
	if b, err := match("POST", "Test.Echo"); err != nil || b.Name != "Echo" {
		t.Error(err)
	}
	for _, target := range []string{"", "Echo", "Other.Echo", "Test.Nothing", "Test.x.Echo"} {
		_, err := match("POST", target)
		wantFault(t, err, FaultOperation, "")
	}
	_, err := match("GET", "Test.Echo")
	wantFault(t, err, FaultMethod, "")
}
