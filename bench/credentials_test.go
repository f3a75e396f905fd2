//go:build bench

package bench_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// The bare handler is this test binary run again with bareEnv set to the size
// of its answer; it finds its certificate in the two files.
const (
	bareEnv     = "SEKISHO_BENCH_BARE"
	bareCertEnv = "SEKISHO_BENCH_CERT"
	bareKeyEnv  = "SEKISHO_BENCH_KEY"
)

// serveBare answers every request of a client with a certificate. It prints
// its address and ends with its standard input.
func serveBare() int {
	size, err1 := strconv.Atoi(os.Getenv(bareEnv))
	cert, err2 := tls.LoadX509KeyPair(os.Getenv(bareCertEnv), os.Getenv(bareKeyEnv))
	l, err3 := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err := errors.Join(err1, err2, err3); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	body := []byte(strings.Repeat("x", size))
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(body) //nolint:errcheck // the client sees it
		}),
		// As Sekisho: a certificate is asked for, tickets are off.
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true, NextProtos: []string{"http/1.1"}},
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(l.Addr())
	fmt.Fprintln(os.Stderr, server.ServeTLS(l, "", ""))
	return 1
}

// credentials compares the credential endpoint with a bare handler.
func (s *settings) credentials(ctx context.Context, dir string) error {
	certFile, keyFile, roots, err := serverCertificate(dir)
	if err != nil {
		return err
	}
	server, err := process.Start(ctx, filepath.Join(dir, "data"), "--tls-cert", certFile, "--tls-key", keyFile)
	if err != nil {
		return err
	}
	defer server.Kill() //nolint:errcheck // the folder goes with it
	cert, alias, err := enrol(ctx, server)
	if err != nil {
		return err
	}
	client := func(keepAlive bool) *http.Client {
		return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}},
			MaxIdleConnsPerHost: connections, DisableKeepAlives: !keepAlive,
		}}
	}
	_, port, err := net.SplitHostPort(server.Env["SEKISHO_CREDENTIAL_ENDPOINT"])
	if err != nil {
		return err
	}
	url := "https://127.0.0.1:" + port + "/role-aliases/" + alias + "/credentials"
	size, err := get(ctx, client(false), url)
	if err != nil {
		return err
	}
	bare, bareURL, err := startBare(ctx, size, certFile, keyFile)
	if err != nil {
		return err
	}
	defer func() { _ = bare.Process.Kill(); _ = bare.Wait() }()

	rows := [][]string{{"connections", "sekisho", "bare net/http", "ratio", "CPU a request, sekisho", "CPU a request, bare"}}
	for _, keep := range []bool{true, false} {
		c := client(keep)
		sides := []*contestant{
			{name: "sekisho", pid: server.PID(), call: func(ctx context.Context, _ int) error { return second(get(ctx, c, url)) }},
			{name: "bare", pid: bare.Process.Pid, call: func(ctx context.Context, _ int) error { return second(get(ctx, c, bareURL)) }},
		}
		if err := s.compare(ctx, sides...); err != nil {
			return err
		}
		name := map[bool]string{true: "kept alive", false: "a new one each"}[keep]
		rows = append(rows, []string{
			name, fmt.Sprintf("%.0f/s", median(sides[0].rates())), fmt.Sprintf("%.0f/s", median(sides[1].rates())),
			fmt.Sprintf("%.2f", ratio(sides[0], sides[1])), micro(sides[0].cpu()), micro(sides[1].cpu()),
		})
	}
	table("Credential endpoint (goal: ratio ≥ 0.7)", rows...)
	_, err = server.Stop()
	return err
}

func second[T any](_ T, err error) error { return err }

// get reads an answer to its end and returns its size.
func get(ctx context.Context, c *http.Client, url string) (int64, error) {
	return getAs(ctx, c, url, "bench")
}

func getAs(ctx context.Context, c *http.Client, url, thing string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("x-amzn-iot-thingname", thing)
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return n, err
}

func startBare(ctx context.Context, size int64, certFile, keyFile string) (*exec.Cmd, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", bareEnv, size), bareCertEnv+"="+certFile, bareKeyEnv+"="+keyFile)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	return cmd, "https://" + strings.TrimSpace(addr) + "/", err
}

// serverCertificate makes a P-256 certificate for localhost that both sides serve.
func serverCertificate(dir string) (certFile, keyFile string, roots *x509.CertPool, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", "", nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	certFile, keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, roots, errors.Join(
		os.WriteFile(certFile, certPEM, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600),
	)
}

func config(server *process.Server) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(server.Env["AWS_ENDPOINT_URL"]),
		Credentials: awscredentials.NewStaticCredentialsProvider(server.Env["AWS_ACCESS_KEY_ID"], server.Env["AWS_SECRET_ACCESS_KEY"], ""),
	}
}

// enrol registers the thing "bench" with a role alias of its own.
func enrol(ctx context.Context, server *process.Server) (cert tls.Certificate, alias string, err error) {
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	name := aws.String("bench")
	a, i := iam.NewFromConfig(config(server)), iot.NewFromConfig(config(server))
	role, err := a.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(trust)})
	if err != nil {
		return cert, "", err
	}
	ra, err := i.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: name, RoleArn: role.Role.Arn})
	if err != nil {
		return cert, "", err
	}
	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"` + *ra.RoleAliasArn + `"}]}`
	c, err := i.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		return cert, "", err
	}
	err = errors.Join(
		second(i.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: &document})),
		second(i.CreateThing(ctx, &iot.CreateThingInput{ThingName: name})),
		second(i.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: name, Principal: c.CertificateArn})),
		second(i.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: name, Target: c.CertificateArn})),
	)
	if err != nil {
		return cert, "", err
	}
	cert, err = tls.X509KeyPair([]byte(*c.CertificatePem), []byte(*c.KeyPair.PrivateKey))
	return cert, *name, err
}
