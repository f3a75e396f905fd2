package awsapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

const (
	goodScope  = testKey + "/20260301/us-east-1/s3/aws4_request"
	goodHeader = "AWS4-HMAC-SHA256 Credential=" + goodScope + ", SignedHeaders=host;x-amz-date, Signature=" + emptyHash
)

func headerRequest(authorization string, change ...func(http.Header)) *http.Request {
	r := vector{Method: http.MethodGet, Target: "/b/k", Host: "localhost"}.request()
	r.Header.Set("X-Amz-Date", "20260301T120000Z")
	r.Header.Set("Authorization", authorization)
	for _, c := range change {
		c(r.Header)
	}
	return r
}

func queryRequest(change func(url.Values)) *http.Request {
	q := url.Values{
		"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {goodScope}, "X-Amz-Date": {"20260301T120000Z"},
		"X-Amz-Expires": {"60"}, "X-Amz-SignedHeaders": {"host"}, "X-Amz-Signature": {emptyHash},
	}
	change(q)
	return vector{Method: http.MethodGet, Target: "/b/k?" + q.Encode(), Host: "localhost"}.request()
}

func TestParseSignature(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	del := func(name string) func(url.Values) { return func(q url.Values) { q.Del(name) } }
	good := map[string]*http.Request{
		"header":           headerRequest(goodHeader),
		"other order":      headerRequest("AWS4-HMAC-SHA256 Signature=" + emptyHash + ",SignedHeaders=host,Credential=" + goodScope),
		"Date":             headerRequest(goodHeader, func(h http.Header) { h.Del("X-Amz-Date"); h.Set("Date", "Sun, 01 Mar 2026 12:00:00 GMT") }),
		"Date in ISO form": headerRequest(goodHeader, func(h http.Header) { h.Del("X-Amz-Date"); h.Set("Date", "20260301T120000Z") }),
		"query":            queryRequest(func(url.Values) {}),
		"query for a week": queryRequest(set("X-Amz-Expires", "604800")),
		"iot without Expires": queryRequest(func(q url.Values) {
			q.Del("X-Amz-Expires")
			q.Set("X-Amz-Credential", strings.Replace(goodScope, "/s3/", "/iotdevicegateway/", 1))
		}),
		"unsigned":             vector{Method: http.MethodGet, Target: "/b/k?x=1&&y", Host: "localhost"}.request(),
		"unsigned, odd target": vector{Method: http.MethodGet, Target: "http://localhost?a=b", Host: "localhost"}.request(),
	}
	for name, r := range good {
		s, err := awsapi.ParseSignature(r)
		if err != nil || (s == nil) != strings.HasPrefix(name, "unsigned") {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if s != nil && (s.AccessKeyID != testKey || !s.Time.Equal(testTime()) || s.Region != "us-east-1" || s.Date != "20260301") {
			t.Errorf("%s: read as %+v", name, s)
		}
	}
	replace := func(from, to string) *http.Request { return headerRequest(strings.Replace(goodHeader, from, to, 1)) }
	twice := func(name string) func(http.Header) { return func(h http.Header) { h[name] = []string{"a", "b"} } }
	bad := map[string]*http.Request{
		"no fields":              headerRequest("AWS4-HMAC-SHA256"),
		"field twice":            headerRequest(goodHeader + ", Signature=" + emptyHash),
		"unknown field":          headerRequest(goodHeader + ", Extra=1"),
		"missing Signature":      replace(", Signature="+emptyHash, ""),
		"missing Credential":     replace("Credential="+goodScope+", ", ""),
		"short scope":            replace("/s3/aws4_request", "/aws4_request"),
		"long scope":             replace("/s3/", "/s3/x/"),
		"other terminator":       replace("aws4_request", "aws5_request"),
		"empty key":              replace(testKey, ""),
		"long key":               replace(testKey, strings.Repeat("A", 129)),
		"key with a space":       replace(testKey, "A B"),
		"empty region":           replace("us-east-1", ""),
		"empty service":          replace("/s3/", "//"),
		"bad date":               replace("20260301", "20261301"),
		"another date":           replace("20260301", "20260302"),
		"unordered headers":      replace("host;x-amz-date", "x-amz-date;host"),
		"repeated header name":   replace("host;x-amz-date", "host;host"),
		"upper-case header name": replace("host;", "Host;"),
		"no header names":        replace("host;x-amz-date", ""),
		"short signature":        replace(emptyHash, emptyHash[1:]),
		"signature not hex":      replace("Signature=e", "Signature=x"),
		"no date":                headerRequest(goodHeader, func(h http.Header) { h.Del("X-Amz-Date") }),
		"garbled date":           headerRequest(goodHeader, func(h http.Header) { h.Set("X-Amz-Date", "yesterday") }),
		"two dates":              headerRequest(goodHeader, twice("X-Amz-Date")),
		"two Dates":              headerRequest(goodHeader, func(h http.Header) { h.Del("X-Amz-Date") }, twice("Date")),
		"two tokens":             headerRequest(goodHeader, twice("X-Amz-Security-Token")),
		"two authorizations":     headerRequest(goodHeader, twice("Authorization")),
		"header and query":       queryRequest(func(url.Values) {}),
		"query not encoded":      vector{Method: http.MethodGet, Target: "/?a=%zz", Host: "localhost"}.request(),
		"query cut":              vector{Method: http.MethodGet, Target: "/?a=%2", Host: "localhost"}.request(),
		"parameter twice":        queryRequest(func(q url.Values) { q.Add("X-Amz-Date", "20260301T120000Z") }),
		"query: no algorithm":    queryRequest(del("X-Amz-Algorithm")),
		"query: no credential":   queryRequest(del("X-Amz-Credential")),
		"query: no date":         queryRequest(del("X-Amz-Date")),
		"query: no expiry":       queryRequest(del("X-Amz-Expires")),
		"query: expiry negative": queryRequest(set("X-Amz-Expires", "-1")),
		"query: expiry zero":     queryRequest(set("X-Amz-Expires", "0")),
		"query: expiry too long": queryRequest(set("X-Amz-Expires", "604801")),
		"query: two tokens":      queryRequest(set("X-Amz-Security-Token", "t")),
		"query: repeated header": queryRequest(func(url.Values) {}),
	}
	bad["header and query"].Header.Set("Authorization", goodHeader)
	bad["query: two tokens"].Header.Set("X-Amz-Security-Token", "t")
	bad["query: repeated header"].Header["X-Amz-Security-Token"] = []string{"a", "b"}
	for name, r := range bad {
		if s, err := awsapi.ParseSignature(r); err == nil {
			t.Errorf("%s: accepted as %+v", name, s)
		} else if reasonOf(err) == 0 {
			t.Errorf("%s: %v is not a refusal", name, err)
		}
	}
}

func TestOtherSchemesAreRefusedByName(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		r    *http.Request
		says string
	}{
		"SigV2":           {headerRequest("AWS AKIDEXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg="), "s3v4"},
		"SigV2 presigned": {vector{Method: "GET", Target: "/b/k?AWSAccessKeyId=A&Signature=b%3D&Expires=1", Host: "h"}.request(), "s3v4"},
		"SigV4A":          {headerRequest("AWS4-ECDSA-P256-SHA256 Credential=x"), "4A"},
		"SigV4A query":    {queryRequest(func(q url.Values) { q.Set("X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256") }), "4A"},
		"Bearer":          {headerRequest("Bearer abc"), "AWS4-HMAC-SHA256"},
	} {
		_, err := awsapi.ParseSignature(tc.r)
		if reasonOf(err) != awsapi.ReasonUnsupported || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func verify(r *http.Request, check awsapi.Check) error {
	s, err := awsapi.ParseSignature(r)
	if err != nil {
		return err
	}
	return awsapi.NewVerifier().Verify(r, s, check)
}

func TestVerifyRefusals(t *testing.T) {
	t.Parallel()
	check := awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime(), Skew: 5 * time.Minute}
	unsigned := check
	unsigned.Payload = "UNSIGNED-PAYLOAD"
	at := func(c awsapi.Check, d time.Duration) awsapi.Check { c.Now = c.Now.Add(d); return c }
	header := func(change func(*http.Request)) *http.Request {
		r := sdkRequest(t, "s3", "GET", "/b/k", "x=1&y=a%20b", "", false)
		change(r)
		return r
	}
	query := func(change func(*http.Request)) *http.Request {
		r := sdkRequest(t, "s3", "GET", "/b/k", "x=1", "", true)
		change(r)
		return r
	}
	same := func(*http.Request) {}
	add := func(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(name, "1") } }
	target := func(from, to string) func(*http.Request) {
		return func(r *http.Request) { r.RequestURI = strings.Replace(r.RequestURI, from, to, 1) }
	}
	for _, tc := range []struct {
		name  string
		r     *http.Request
		check awsapi.Check
		want  awsapi.Reason
	}{
		{"good", header(same), check, 0},
		{"trace id added", header(add("X-Amzn-Trace-Id")), check, 0},
		{"header added", header(add("X-Amz-Acl")), check, awsapi.ReasonUnsignedHeader},
		{"principal added", header(add("X-Amzn-Principal")), check, awsapi.ReasonUnsignedHeader},
		{"header added to a URL", query(add("X-Amz-Acl")), unsigned, awsapi.ReasonUnsignedHeader},
		{"host not signed", header(func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "host;", "", 1))
		}), check, awsapi.ReasonUnsignedHeader},
		{"another host", header(func(r *http.Request) { r.Host = "evil" }), check, awsapi.ReasonSignature},
		{"another path", header(target("/b/k", "/b/l")), check, awsapi.ReasonSignature},
		{"another query", header(target("x=1", "x=2")), check, awsapi.ReasonSignature},
		{"another payload", header(same), unsigned, awsapi.ReasonSignature},
		{"plus for a space", header(target("a%20b", "a+b")), check, 0},
		{"bad query", header(target("x=1", "x=%")), check, awsapi.ReasonMalformed},
		{"early", header(same), at(check, -5*time.Minute), 0},
		{"too early", header(same), at(check, -5*time.Minute-time.Second), awsapi.ReasonSkew},
		{"late", header(same), at(check, 5*time.Minute), 0},
		{"too late", header(same), at(check, 5*time.Minute+time.Second), awsapi.ReasonSkew},
		{"URL", query(same), unsigned, 0},
		{"URL at its end", query(same), at(unsigned, time.Minute), 0},
		{"URL past its end", query(same), at(unsigned, time.Minute+time.Second), awsapi.ReasonExpired},
		{"URL ahead of time", query(same), at(unsigned, -5*time.Minute-time.Second), awsapi.ReasonSkew},
		{"URL with a longer life", query(target("X-Amz-Expires=60", "X-Amz-Expires=600")), unsigned, awsapi.ReasonSignature},
	} {
		err := verify(tc.r, tc.check)
		if tc.name == "bad query" { // a request that was parsed before it was changed
			s, _ := awsapi.ParseSignature(header(same))
			err = awsapi.NewVerifier().Verify(tc.r, s, tc.check)
		}
		if reasonOf(err) != tc.want || (err == nil) != (tc.want == 0) {
			t.Errorf("%s: %v, want reason %d", tc.name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: the refusal tells the secret", tc.name)
		}
	}
}

// The documented form of MQTT over WebSocket signs first and appends the token.
func TestAppendedToken(t *testing.T) {
	t.Parallel()
	r := sdkRequest(t, "iotdevicegateway", "GET", "/mqtt", "x", "", true)
	r.RequestURI += "&X-Amz-Security-Token=to%2Fken"
	check := awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime(), Skew: time.Minute}
	if err := verify(r, check); reasonOf(err) != awsapi.ReasonSignature {
		t.Errorf("an unsigned token: %v", err)
	}
	check.Handshake = true
	if err := verify(r, check); err != nil {
		t.Errorf("an unsigned token where it is allowed: %v", err)
	}
	if err := verify(sdkRequest(t, "iotdevicegateway", "GET", "/mqtt", "x", "tok", true), check); err != nil {
		t.Errorf("a signed token where an unsigned one is allowed: %v", err)
	}
	s, err := awsapi.ParseSignature(r)
	if err != nil || s.SessionToken != "to/ken" {
		t.Errorf("token %q, %v", s.SessionToken, err)
	}
}

func TestSignedFramingHeaders(t *testing.T) {
	t.Parallel()
	// Computed by hand from the specification: what net/http takes out of the
	// headers counts as it was sent.
	sign := func(names, canonical string) string {
		return signatureOf(t, "PUT\n/b/k\n\n"+canonical+"\n"+names+"\n"+emptyHash)
	}
	r := headerRequest("")
	r.Method, r.ContentLength = http.MethodPut, 5
	const names = "content-length;host;transfer-encoding;x-amz-date;x-empty"
	r.TransferEncoding = []string{"chunked"}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+goodScope+", SignedHeaders="+names+", Signature="+
		sign(names, "content-length:5\nhost:localhost\ntransfer-encoding:chunked\nx-amz-date:20260301T120000Z\nx-empty:\n"))
	check := awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime()}
	if err := verify(r, check); err != nil {
		t.Error(err)
	}
}

// signatureOf signs a canonical request of goodScope.
func signatureOf(tb testing.TB, canonical string) string {
	tb.Helper()
	return signatureFor(tb, "s3", canonical)
}

// signatureFor is signatureOf for another service.
func signatureFor(tb testing.TB, service, canonical string) string {
	tb.Helper()
	return signText(tb, service, "AWS4-HMAC-SHA256", awsapi.HashOf([]byte(canonical)))
}

// signText signs the rest of a string to sign of goodScope.
func signText(tb testing.TB, service, algorithm, rest string) string {
	tb.Helper()
	key := []byte("AWS4" + testSecret)
	for _, part := range []string{"20260301", "us-east-1", service, "aws4_request"} {
		key = mac(key, part)
	}
	return fmt.Sprintf("%x", mac(key, algorithm+"\n20260301T120000Z\n20260301/us-east-1/"+service+"/aws4_request\n"+rest))
}

// Clients write the path in several ways; each names the path that was sent.
func TestPathForms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sent, signed string
		want         bool
	}{
		{"/b/k", "/b/k", true},
		{"/b/(k)", "/b/%28k%29", true},
		{"/b/(k)", "/b/(k)", true},
		{"/b/a%2Fb", "/b/a/b", true},
		{"/b/a%2Fb", "/b/a%2Fb", true},
		{"/b/a%2fb", "/b/a/b", true},
		{"/b//k", "/b//k", true},
		{"/b//k", "/b/k", false},
		{"/b/./k", "/b/k", false},
		{"/b/x/../k", "/b/k", false},
		{"/b/%2E%2E/k", "/b/../k", true},
		{"/b/a/b", "/b/a%2Fb", false},
		{"/b/a+b", "/b/a%2Bb", true},
		{"/b/%", "/b/%25", true},
	} {
		r := headerRequest("")
		r.RequestURI = tc.sent
		r.Header.Set("Authorization", strings.Replace(goodHeader, emptyHash,
			signatureOf(t, "GET\n"+tc.signed+"\n\nhost:localhost\nx-amz-date:20260301T120000Z\n\nhost;x-amz-date\n"+emptyHash), 1))
		err := verify(r, awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime()})
		if (err == nil) != tc.want {
			t.Errorf("sent %s, signed %s: %v", tc.sent, tc.signed, err)
		}
	}
}

func TestPathFormsOfOtherServices(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sent, signed string
		want         bool
	}{
		{"/things/t%3A1", "/things/t%253A1", true}, // the SDKs
		{"/things/t:1", "/things/t%3A1", true},
		{"/things/t:1", "/things/t%253A1", true},
		{"/things/t:1", "/things/t:1", true}, // curl 7
		{"/things/t%3A1", "/things/t%3A1", true},
		{"/things//t", "/things/t", true}, // resolved; never routed
		{"/things/a%2Fb", "/things/a/b", false},
		{"/things/t", "/things/u", false},
	} {
		r := headerRequest("")
		r.RequestURI = tc.sent
		scope := strings.Replace(goodHeader, "/s3/", "/iot/", 1)
		r.Header.Set("Authorization", strings.Replace(scope, emptyHash,
			signatureFor(t, "iot", "GET\n"+tc.signed+"\n\nhost:localhost\nx-amz-date:20260301T120000Z\n\nhost;x-amz-date\n"+emptyHash), 1))
		err := verify(r, awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime()})
		if (err == nil) != tc.want {
			t.Errorf("sent %s, signed %s: %v", tc.sent, tc.signed, err)
		}
	}
}

func TestRawTarget(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ target, path, query string }{
		{"/a/../b//c%2F?x=%20&y", "/a/../b//c%2F", "x=%20&y"},
		{"http://host:1/a?b", "/a", "b"},
		{"http://host?b", "/", "b"},
		{"http://host", "/", ""},
		{"*", "*", ""},
	} {
		r := &http.Request{RequestURI: tc.target}
		if p, q := awsapi.RawPath(r), awsapi.RawQuery(r); p != tc.path || q != tc.query {
			t.Errorf("%s: path %q, query %q", tc.target, p, q)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x%20y?z", http.NoBody)
	r.RequestURI = ""
	if p := awsapi.RawPath(r); p != "/x%20y" {
		t.Errorf("without RequestURI: %q", p)
	}
	for path, want := range map[string]bool{"/": true, "/a/b/": true, "/a//b": false, "/a/./b": false, "/..": false, "//": false, "/a%2F..": true} {
		if awsapi.PlainPath(path) != want {
			t.Errorf("PlainPath(%q) is %t", path, !want)
		}
	}
}

func TestSigningKeysAreBounded(t *testing.T) {
	t.Parallel()
	v := awsapi.NewVerifier()
	check := awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime(), Skew: time.Minute}
	r := headerRequest(goodHeader)
	for i := range 9000 {
		s, err := awsapi.ParseSignature(headerRequest(strings.Replace(goodHeader, testKey, fmt.Sprint("K", i), 1)))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(r, s, check); err == nil {
			t.Fatal("accepted")
		}
	}
	good := sdkRequest(t, "s3", "GET", "/b/k", "", "", false)
	s, _ := awsapi.ParseSignature(good)
	if err := v.Verify(good, s, check); err != nil {
		t.Error(err)
	}
}

func TestRequestErrorTellsItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	e := &awsapi.RequestError{Reason: awsapi.ReasonIncomplete, Message: "m", Err: cause}
	if e.Error() != "m: cause" || !errors.Is(e, cause) || (&awsapi.RequestError{Message: "m"}).Error() != "m" {
		t.Errorf("%v", e)
	}
}

// FuzzParseSignature feeds arbitrary headers and queries: whatever parses holds
// what it says, and nothing that was not signed with the secret verifies.
func FuzzParseSignature(f *testing.F) {
	f.Add(goodHeader, "/b/k?x=1", "20260301T120000Z")
	f.Add("AWS AKID:sig", "/", "")
	f.Add("", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="+url.QueryEscape(goodScope)+"&X-Amz-Date=20260301T120000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature="+emptyHash, "")
	v := awsapi.NewVerifier()
	f.Fuzz(func(t *testing.T, authorization, target, date string) {
		r := vector{Method: http.MethodGet, Target: target, Host: "localhost"}.request()
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set("X-Amz-Date", date)
		s, err := awsapi.ParseSignature(r)
		if err != nil && reasonOf(err) == 0 {
			t.Fatalf("%v is not a refusal", err)
		}
		if err != nil || s == nil {
			return
		}
		if s.AccessKeyID == "" || s.Region == "" || s.Service == "" || s.Time.Format("20060102") != s.Date || s.Presigned && s.Expires <= 0 {
			t.Fatalf("%+v", s)
		}
		if err := v.Verify(r, s, awsapi.Check{Secret: "not the secret", Payload: emptyHash, Now: s.Time, Handshake: true}); err == nil {
			t.Fatal("verified")
		}
	})
}

// What the signers of MQTT's handshake do differently counts there alone.
func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what         string
		signed, sent string // hosts
		age          time.Duration
		plain        awsapi.Reason // without Handshake
		handshake    awsapi.Reason
	}{
		{"as signed", "h.example:4566", "h.example:4566", 0, 0, 0},
		{"a day old", "h.example", "h.example", 24 * time.Hour, awsapi.ReasonExpired, 0},
		{"older", "h.example", "h.example", 24*time.Hour + time.Second, awsapi.ReasonExpired, awsapi.ReasonExpired},
		{"a port that was not signed", "h.example", "h.example:8443", 0, awsapi.ReasonSignature, 0},
		{"likewise, of an address", "[::1]", "[::1]:8443", 0, awsapi.ReasonSignature, 0},
		{"a default port that was signed", "h.example:443", "h.example", 0, awsapi.ReasonSignature, 0},
		{"likewise, of an address", "[::1]:443", "[::1]", 0, awsapi.ReasonSignature, 0},
		{"another port that was signed", "h.example:8443", "h.example", 0, awsapi.ReasonSignature, awsapi.ReasonSignature},
		{"another port", "h.example:4566", "h.example:443", 0, awsapi.ReasonSignature, awsapi.ReasonSignature},
		{"another host", "h.example", "other.example", 0, awsapi.ReasonSignature, awsapi.ReasonSignature},
	} {
		for _, token := range []string{"", "&X-Amz-Security-Token=to%2Fken"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+tt.signed+"/mqtt", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			target, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r, emptyHash, "iotdevicegateway", "us-east-1", testTime())
			if err != nil {
				t.Fatal(err)
			}
			if r.URL, err = url.Parse(target + token); err != nil {
				t.Fatal(err)
			}
			r.Host = tt.sent
			check := awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime().Add(tt.age), Skew: time.Minute}
			if got := reasonOf(verify(received(t, r), check)); got != tt.plain && token == "" {
				t.Errorf("%s: reason %d, want %d", tt.what, got, tt.plain)
			}
			check.Handshake = true
			if got := reasonOf(verify(received(t, r), check)); got != tt.handshake {
				t.Errorf("%s, opening MQTT, with %q: reason %d, want %d", tt.what, token, got, tt.handshake)
			}
		}
	}
}

func TestDecodePath(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{"a%2Fb+c": "a/b+c", "%C3%A9/": "é/"} {
		if got, ok := awsapi.DecodePath(raw); !ok || got != want {
			t.Errorf("%s is %q, %v", raw, got, ok)
		}
	}
	if got, ok := awsapi.DecodePath("a%2"); ok {
		t.Errorf("half an octet is %q", got)
	}
}
