package awsapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

// vector is one published signature; the files of testdata/sigv4 hold them.
type vector struct {
	Name, Source, Method, Target, Host string
	Headers                            [][2]string
	Secret, Payload                    string
	Time                               time.Time
}

func (v vector) request() *http.Request {
	r := &http.Request{Method: v.Method, RequestURI: v.Target, Host: v.Host, Header: http.Header{}, URL: &url.URL{}}
	for _, h := range v.Headers {
		r.Header.Add(h[0], h[1])
	}
	return r
}

func TestPublishedSignatures(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/sigv4/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	v := awsapi.NewVerifier()
	for _, vec := range vectors {
		t.Run(vec.Name, func(t *testing.T) {
			t.Parallel()
			r := vec.request()
			s, err := awsapi.ParseSignature(r)
			if err != nil {
				t.Fatal(err)
			}
			check := awsapi.Check{Secret: vec.Secret, Payload: vec.Payload, Now: vec.Time, Skew: time.Minute}
			if err := v.Verify(r, s, check); err != nil {
				t.Errorf("refused: %v", err)
			}
			check.Secret += "x"
			if err := v.Verify(r, s, check); err == nil {
				t.Error("accepted under another secret")
			}
		})
	}
}
