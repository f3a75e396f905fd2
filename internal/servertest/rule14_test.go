package servertest_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// Requests that grow in the server's memory are refused before they do.
func TestSecurityRule14_Amplification(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	admin := servertest.Admin()
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	xml := func(body string) string { return "<Delete>" + body + "</Delete>" }
	for name, q := range map[string]servertest.Request{
		"entities":        {Method: "POST", Target: "/fleet?delete", Body: `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>` + xml("<Object><Key>&b;</Key></Object>")},
		"external entity": {Method: "POST", Target: "/fleet?delete", Body: `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + xml("<Object><Key>&a;</Key></Object>")},
		"deep XML":        {Method: "POST", Target: "/fleet?delete", Body: strings.Repeat("<a>", 100_000) + strings.Repeat("</a>", 100_000)},
		"wide XML":        {Method: "POST", Target: "/fleet?delete", Body: xml(strings.Repeat("<a/>", 500_000))},
		"1,001 keys":      {Method: "POST", Target: "/fleet?delete", Body: xml(strings.Repeat("<Object><Key>k</Key></Object>", 1001))},
		"big XML":         {Method: "PUT", Target: "/new-bucket", Body: "<CreateBucketConfiguration>" + strings.Repeat(" ", 64<<20) + "</CreateBucketConfiguration>"},
		"deep JSON":       {Method: "POST", Target: "/things/x", Service: "iot", Body: strings.Repeat(`{"attributePayload":`, 50_000) + "1" + strings.Repeat("}", 50_000)},
		"deep array":      {Method: "POST", Target: "/things/x", Service: "iot", Body: strings.Repeat("[", 900_000)},
		"big JSON":        {Method: "POST", Target: "/things/x", Service: "iot", Body: `{"thingTypeName":"` + strings.Repeat("x", 32<<20) + `"}`},
		"many parameters": {Method: "POST", Target: "/", Service: "iam", Body: "Action=ListUsers&Version=2010-05-08" + strings.Repeat("&a=b", 100_000), Header: form},
		"deep parameter":  {Method: "POST", Target: "/", Service: "iam", Body: "Action=ListUsers&Version=2010-05-08&" + strings.Repeat("a.", 100_000) + "=1", Header: form},
		"sparse list":     {Method: "POST", Target: "/", Service: "iam", Body: "Action=TagRole&Version=2010-05-08&RoleName=x&Tags.member.2147483647.Key=a&Tags.member.2147483647.Value=b", Header: form},
		"big policy":      {Method: "POST", Target: "/policies/x", Service: "iot", Body: `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[` + strings.Repeat(`{},`, 350_000) + `]}"}`},
		"deep policy":     {Method: "POST", Target: "/policies/x", Service: "iot", Body: `{"policyDocument":"` + strings.Repeat("[", 300_000) + `"}`},
		"long key":        {Method: "PUT", Target: "/fleet/" + strings.Repeat("k", 1025)},
		"explain, big":    {Method: "POST", Target: "/_sekisho/explain", Service: "sekisho", Body: `{"action":"` + strings.Repeat("x", 8<<20) + `"}`},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if status, body := s.Do(admin, q); status/100 != 4 && status != http.StatusNotImplemented {
			t.Errorf("%s: %d %.300s", name, status, body)
		}
		runtime.ReadMemStats(&after)
		// What the test itself sends is counted too, some times over.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(12*len(q.Body)+64<<20) {
			t.Errorf("%s: %d MiB for %d KiB", name, grown>>20, len(q.Body)>>10)
		}
	}
}

// A token that inflates, or is too long to be one, is not opened.
func TestSecurityRule14_Tokens(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	var bomb bytes.Buffer
	w, err := flate.NewWriter(&bomb, flate.BestCompression)
	must(t, err)
	_, _ = io.CopyN(w, zeros{}, 1<<20)
	must(t, w.Close())
	for _, token := range []string{strings.Repeat("A", 2049), strings.Repeat("A", 20_000), base64.StdEncoding.EncodeToString(bomb.Bytes()), "x", "====", "AQAAAAE="} {
		p := credentials.NewStaticCredentialsProvider("ASIAAAAAAAAAAAAAAAAA", "secret", token)
		if status, body := s.Do(p, servertest.Request{Method: "GET", Target: "/fleet/x"}); status/100 != 4 || !strings.Contains(body, "InvalidToken") {
			t.Errorf("%.20s: %d %s", token, status, body)
		}
	}
	// Tags that fit no token are refused by their name.
	s.NewRole("first", strings.Replace(trustAccount, `"sts:AssumeRole"`, `["sts:AssumeRole","sts:TagSession"]`, 1), everything)
	p := s.NewUser("ann", everything)
	_, err = sts.NewFromConfig(s.Config(p)).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String(roleARN + "first"), RoleSessionName: aws.String("x-y"), Tags: manyTags(50),
	})
	wantCode(t, err, "PackedPolicyTooLarge")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Text that is no request, or two, is not served.
func TestSecurityRule14_RawRequests(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	for name, text := range map[string]string{
		// net/http believes Transfer-Encoding and drops Content-Length, as RFC 9112 allows.
		"both lengths":        "PUT /fleet/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":         "PUT /fleet/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		"two hosts":           "GET /fleet/x HTTP/1.1\r\nHost: localhost\r\nHost: fleet.localhost\r\n\r\n",
		"no host":             "GET /fleet/x HTTP/1.1\r\n\r\n",
		"folded header":       "GET /fleet/x HTTP/1.1\r\nHost: localhost\r\nX-Amz-Date:\r\n 2026\r\n\r\n",
		"space in name":       "GET /fleet/x HTTP/1.1\r\nHost: localhost\r\nX-Amz-Acl : private\r\n\r\n",
		"bad chunk":           "PUT /fleet/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
		"chunked twice":       "PUT /fleet/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"huge header":         "GET /fleet/x HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"absolute form":       "GET http://evil.example/fleet/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"connect":             "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
		"HTTP/0.9":            "GET /fleet/x\r\n\r\n",
		"bad percent":         "GET /fleet/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"control in path":     "GET /fleet/\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"upgrade to h2c":      "GET /fleet/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"prior knowledge h2":  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"own path, as bucket": "GET /x HTTP/1.1\r\nHost: _sekisho.localhost\r\n\r\n",
	} {
		c := s.Raw(text)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		answers := bufio.NewReader(c)
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: no answer", name)
			}
			continue // cut
		}
		if res.StatusCode < 400 {
			t.Errorf("%s: %s", name, res.Status)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if second, err := http.ReadResponse(answers, nil); err == nil {
			_ = second.Body.Close()
			t.Errorf("%s: a second answer: %s", name, second.Status)
		}
	}
}

// Secrets, tokens and private keys do not reach the log or an error, and the
// data folder is its owner's alone.
func TestSecurityRule13_Redaction(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	user := s.NewUser("ann", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`)
	device := s.Enrol("pump")
	made, err := s.IoT.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})
	must(t, err)
	var said strings.Builder
	var secrets []string
	for _, p := range []aws.CredentialsProvider{user, device.Session(), servertest.Admin()} {
		k := retrieve(t, p)
		secrets = append(secrets, k.SecretAccessKey)
		if k.SessionToken != "" {
			secrets = append(secrets, k.SessionToken, k.SessionToken[:40])
		}
		for _, q := range []servertest.Request{
			{Method: "GET", Target: "/fleet/valve/x"},
			{Method: "GET", Target: "/fleet/valve/x?X-Amz-Expires=60", Presign: true},
			{Method: "GET", Target: "/nothing", Service: "iot"},
			{Method: "GET", Target: "/?Action=Nothing", Service: "iam"},
			{Method: "PUT", Target: "/fleet?versioning", Body: "<x/>"},
			{Method: "GET", Target: "/fleet/x", Time: s.Clock.Now().Add(-time.Hour)},
		} {
			r := s.Signed(p, q)
			secrets = append(secrets, r.Header.Get("Authorization"), r.URL.Query().Get("X-Amz-Signature"))
			_, body := s.Do(p, q)
			said.WriteString(body)
		}
		wrong := credentials.NewStaticCredentialsProvider(k.AccessKeyID, "wrong", k.SessionToken)
		_, body := s.Do(wrong, servertest.Request{Method: "GET", Target: "/fleet/x"})
		said.WriteString(body)
	}
	secrets = append(secrets, strings.Split(*made.KeyPair.PrivateKey, "\n")[3])
	for _, secret := range secrets {
		if secret != "" && (strings.Contains(s.Log.String(), secret) || strings.Contains(said.String(), secret)) {
			t.Errorf("%.12s… got out", secret)
		}
	}
	adminSecret := retrieve(t, servertest.Admin()).SecretAccessKey
	must(t, filepath.Walk(s.Data, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		public := strings.HasSuffix(path, ".pem") && !strings.Contains(path, "key")
		if info.Mode().Perm()&0o077 != 0 && !public {
			t.Errorf("%s is %v", path, info.Mode())
		}
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			must(t, err)
			for i, secret := range secrets {
				if secret != "" && bytes.Contains(b, []byte(secret)) && (!strings.HasSuffix(path, "admin.json") || secret != adminSecret) {
					t.Errorf("%s holds secret %d", path, i)
				}
			}
		}
		return nil
	}))
	info, err := os.Stat(s.Data)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the data folder is %v", info.Mode())
	}
}

func manyTags(n int) []ststypes.Tag {
	tags := make([]ststypes.Tag, n)
	for i := range tags {
		tags[i] = ststypes.Tag{Key: aws.String(fmt.Sprintf("tag-%d", i*7919)), Value: aws.String(fmt.Sprintf("%0200d", i))}
	}
	return tags
}
