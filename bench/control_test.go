//go:build bench

package bench_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// operator calls the control plane by signed requests of its own, which cost
// less than an SDK's.
type operator struct {
	url    string
	who    aws.Credentials
	http   *http.Client
	signer *v4.Signer

	things, attachments atomic.Int64

	mu   sync.Mutex // guards arns
	arns []string   // of certificates
}

func newOperator(server *process.Server) *operator {
	return &operator{
		url: server.Env["AWS_ENDPOINT_URL"], who: aws.Credentials{AccessKeyID: server.Env["AWS_ACCESS_KEY_ID"], SecretAccessKey: server.Env["AWS_SECRET_ACCESS_KEY"]},
		http:   &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}},
		signer: v4.NewSigner(),
	}
}

// call makes a request and decodes the JSON of its answer into out, if that is not nil.
func (o *operator) call(ctx context.Context, service, method, path, contentType, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, o.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	return o.send(req, service, body, out)
}

func (o *operator) send(req *http.Request, service, body string, out any) error {
	digest := sha256.Sum256([]byte(body))
	if err := o.signer.SignHTTP(req.Context(), o.who, req, hex.EncodeToString(digest[:]), service, region, time.Now()); err != nil {
		return err
	}
	res, err := o.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", req.Method, req.URL.Path, res.Status, b)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	return err
}

func (o *operator) iot(ctx context.Context, method, path, body string, out any) error {
	return o.call(ctx, "iot", method, path, "application/json", body, out)
}

func (o *operator) attachThing(ctx context.Context, thing, principal string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, o.url+"/things/"+thing+"/principals", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("X-Amzn-Principal", principal)
	return o.send(req, "iot", "", nil)
}

// control measures calls that change things, each of which is on disk before
// it is answered, and AssumeRole.
func (s *settings) control(ctx context.Context, dir string) error {
	server, err := process.Start(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer server.Kill() //nolint:errcheck // the folder goes with it
	o := newOperator(server)
	csr, err := request()
	if err != nil {
		return err
	}
	assume, err := assumer(ctx, server)
	if err != nil {
		return err
	}
	if err := o.policies(ctx); err != nil {
		return err
	}
	rows := [][]string{{"8 clients", "calls/s", "goal", "CPU a call"}}
	for _, c := range []struct {
		name, goal string
		call       func(ctx context.Context, worker int) error
	}{
		{"CreateCertificateFromCsr (P-256)", "≥ 1500", func(ctx context.Context, _ int) error { return o.certify(ctx, csr) }},
		{"CreateThing", "≥ 3000", func(ctx context.Context, _ int) error {
			return o.iot(ctx, http.MethodPost, fmt.Sprintf("/things/thing-%d", o.things.Add(1)), `{"attributePayload":{"attributes":{"site":"bench"}}}`, nil)
		}},
		{"AttachPolicy", "≥ 3000", func(ctx context.Context, _ int) error { return o.attach(ctx) }},
		{"AssumeRole", "≥ 5000", func(ctx context.Context, _ int) error { return assume(ctx) }},
	} {
		side := &contestant{name: c.name, pid: server.PID(), call: c.call}
		if err := s.compare(ctx, side); err != nil {
			return err
		}
		rows = append(rows, []string{c.name, fmt.Sprintf("%.0f", median(side.rates())), c.goal, micro(side.cpu())})
	}
	table("Control plane, durable", rows...)
	if err := o.keys(ctx); err != nil {
		return err
	}
	_, err = server.Stop()
	return err
}

// request is a certificate signing request of a P-256 key.
func request() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "bench"}}, key)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]string{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
	return string(b), err
}

func (o *operator) certify(ctx context.Context, csr string) error {
	var out struct{ CertificateArn string }
	if err := o.iot(ctx, http.MethodPost, "/certificates?setAsActive=true", csr, &out); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arns = append(o.arns, out.CertificateArn)
	return nil
}

// attached is how many policies a certificate gets at most: AWS allows 10.
const attached = 10

// attach gives each certificate one policy, then each another.
func (o *operator) attach(ctx context.Context) error {
	n := int(o.attachments.Add(1)) - 1
	if n == attached*len(o.arns) {
		return errors.New("all policies are attached to all certificates")
	}
	return o.iot(ctx, http.MethodPut, fmt.Sprintf("/target-policies/bench-%d", n/len(o.arns)), `{"target":"`+o.arns[n%len(o.arns)]+`"}`, nil)
}

func (o *operator) policies(ctx context.Context) error {
	document, err := json.Marshal(map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`})
	for i := range attached {
		err = errors.Join(err, o.iot(ctx, http.MethodPost, fmt.Sprintf("/policies/bench-%d", i), string(document), nil))
	}
	return err
}

// assumer makes a user and a role, and returns what assumes the role.
func assumer(ctx context.Context, server *process.Server) (func(context.Context) error, error) {
	c, name := iam.NewFromConfig(config(server)), aws.String("assumer")
	user, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: name})
	if err != nil {
		return nil, err
	}
	key, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		return nil, err
	}
	role, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + *user.User.Arn + `"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		return nil, err
	}
	o := newOperator(server)
	o.who = aws.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}
	body := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {*role.Role.Arn}, "RoleSessionName": {"bench"}}.Encode()
	return func(ctx context.Context) error {
		return o.call(ctx, "sts", http.MethodPost, "/", "application/x-www-form-urlencoded", body, nil)
	}, nil
}

// keyCalls is how many certificates are made with keys of the server's.
const keyCalls = 100

// keys measures CreateKeysAndCertificate after a time of rest, in which the
// server makes keys ahead of need.
func (o *operator) keys(ctx context.Context) error {
	time.Sleep(time.Minute)
	var took []float64
	for range keyCalls {
		begun := time.Now()
		if err := o.iot(ctx, http.MethodPost, "/keys-and-certificate?setAsActive=true", "", nil); err != nil {
			return err
		}
		took = append(took, float64(time.Since(begun))/float64(time.Millisecond))
	}
	slices.Sort(took)
	table("CreateKeysAndCertificate (RSA 2048), one after the other, after a minute of rest",
		[]string{"calls", "p50", "goal", "p99"},
		[]string{fmt.Sprint(keyCalls), fmt.Sprintf("%.1f ms", median(took)), "≤ 3 ms", fmt.Sprintf("%.1f ms", took[keyCalls*99/100])},
	)
	return nil
}
