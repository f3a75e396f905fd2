//go:build bench

package bench_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// devices asks for credentials once from each of many devices, each with a
// thing and a certificate of its own, and looks at the server's memory.
func (s *settings) devices(ctx context.Context, dir string) error {
	if s.fleet < 10 {
		return errors.New("-fleet: at least 10 devices are needed")
	}
	server, err := process.Start(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer server.Kill()                 //nolint:errcheck // the folder goes with it
	_, alias, err := enrol(ctx, server) // whose policy the fleet has as well
	if err != nil {
		return err
	}
	o := newOperator(server)
	fleet := make([]tls.Certificate, s.fleet)
	begun := time.Now()
	if err := inParallel(ctx, len(fleet), func(ctx context.Context, i int) (err error) {
		fleet[i], err = o.enrol(ctx, i)
		return err
	}); err != nil {
		return err
	}
	fmt.Printf("\n%d devices enrolled in %.0f s\n", len(fleet), time.Since(begun).Seconds())
	pem, err := os.ReadFile(server.Env["SEKISHO_ROOT_CA"])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	rows := [][]string{{"devices asked so far", "requests/s", "server's memory (RSS)"}}
	report := func(what string, rate float64) error {
		time.Sleep(2 * time.Second)
		rss, err := process.RSS(server.PID())
		rows = append(rows, []string{what, fmt.Sprintf("%.0f", rate), fmt.Sprintf("%d MB", rss>>20)})
		return err
	}
	// The memory that enrolling took is none of the requests': the server starts anew.
	if _, err := server.Stop(); err != nil {
		return err
	}
	if err := server.Restart(ctx); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(server.Env["SEKISHO_CREDENTIAL_ENDPOINT"])
	if err != nil {
		return err
	}
	url := "https://127.0.0.1:" + port + "/role-aliases/" + alias + "/credentials"
	for tenth := range 10 {
		some := fleet[tenth*len(fleet)/10 : (tenth+1)*len(fleet)/10]
		begun := time.Now()
		if err := inParallel(ctx, len(some), func(ctx context.Context, i int) error {
			tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: some[i : i+1], NextProtos: []string{"http/1.1"}}}
			return second(getAs(ctx, &http.Client{Timeout: 30 * time.Second, Transport: tr}, url, fmt.Sprintf("fleet-%d", tenth*len(fleet)/10+i)))
		}); err != nil {
			return err
		}
		if err := report(fmt.Sprint((tenth+1)*len(fleet)/10), float64(len(some))/time.Since(begun).Seconds()); err != nil {
			return err
		}
	}
	table("The credential endpoint, each device once with a connection of its own (goal: memory stays flat)", rows...)
	_, err = server.Stop()
	return err
}

// enrol makes a thing with a certificate of its own key.
func (o *operator) enrol(ctx context.Context, n int) (cert tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "fleet"}}, key)
	if err != nil {
		return cert, err
	}
	body, err := json.Marshal(map[string]string{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
	if err != nil {
		return cert, err
	}
	var out struct{ CertificateArn, CertificatePem string }
	if err := o.iot(ctx, http.MethodPost, "/certificates?setAsActive=true", string(body), &out); err != nil {
		return cert, err
	}
	name := fmt.Sprintf("fleet-%d", n)
	if err := errors.Join(
		o.iot(ctx, http.MethodPost, "/things/"+name, "{}", nil),
		o.iot(ctx, http.MethodPut, "/target-policies/bench", `{"target":"`+out.CertificateArn+`"}`, nil),
		o.attachThing(ctx, name, out.CertificateArn),
	); err != nil {
		return cert, err
	}
	block, _ := pem.Decode([]byte(out.CertificatePem))
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, nil
}

// inParallel calls f for every number below n, from several goroutines.
func inParallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, connections)
	for w := range connections {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if errs[w] = f(ctx, i); errs[w] != nil {
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
