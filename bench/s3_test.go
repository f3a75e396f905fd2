//go:build bench

package bench_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

const bucket, objects = "bench", 64

// storage is an S3 server and a client that spends little: the body's hash is
// computed once.
type storage struct {
	name   string
	url    string
	pid    int
	who    aws.Credentials
	http   *http.Client
	signer *v4.Signer
	next   atomic.Int64
}

func newStorage(name, url string, pid int, key, secret string) *storage {
	return &storage{
		name: name, url: url, pid: pid, who: aws.Credentials{AccessKeyID: key, SecretAccessKey: secret},
		http:   &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}},
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
	}
}

func (s *storage) call(ctx context.Context, method, path string, body []byte, hash string) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if err := s.signer.SignHTTP(ctx, s.who, req, hash, "s3", region, time.Now()); err != nil {
		return err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, b)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func (s *storage) side(method string, size int) *contestant {
	var body []byte
	if method == http.MethodPut {
		body = make([]byte, size)
		_, _ = rand.Read(body)
	}
	digest := sha256.Sum256(body)
	hash := hex.EncodeToString(digest[:])
	return &contestant{name: s.name, pid: s.pid, call: func(ctx context.Context, _ int) error {
		return s.call(ctx, method, fmt.Sprintf("/%s/%d/%02d", bucket, size, s.next.Add(1)%objects), body, hash)
	}}
}

// s3 compares PUT and GET with versitygw, where that is on the path.
func (s *settings) s3(ctx context.Context, dir string) error {
	server, err := process.Start(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer server.Kill() //nolint:errcheck // the folder goes with it
	stores := []*storage{newStorage("sekisho", server.Env["AWS_ENDPOINT_URL"], server.PID(), server.Env["AWS_ACCESS_KEY_ID"], server.Env["AWS_SECRET_ACCESS_KEY"])}
	fast, err := process.Start(ctx, filepath.Join(dir, "fast"), "--s3-durability", "fast")
	if err != nil {
		return err
	}
	defer fast.Kill() //nolint:errcheck // the folder goes with it
	stores = append(stores, newStorage("sekisho, durability fast", fast.Env["AWS_ENDPOINT_URL"], fast.PID(), fast.Env["AWS_ACCESS_KEY_ID"], fast.Env["AWS_SECRET_ACCESS_KEY"]))
	cmd, url, err := startVersity(ctx, dir)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		fmt.Println("\nversitygw is not on the path: nothing to compare S3 with (see docs/benchmarks.md).")
	case err != nil:
		return err
	default:
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		stores = append(stores, newStorage("versitygw", url, cmd.Process.Pid, "bench", "benchsecret"))
	}
	nothing := sha256.Sum256(nil)
	for _, st := range stores {
		if err := st.call(ctx, http.MethodPut, "/"+bucket, nil, hex.EncodeToString(nothing[:])); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
	}
	rows := [][]string{{"", "server", "calls/s", "MiB/s", "to the last row", "CPU a call", "RSS"}}
	for _, size := range []int{1 << 20, 10 << 10} {
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			var sides []*contestant
			for _, st := range stores {
				sides = append(sides, st.side(method, size))
			}
			if err := s.compare(ctx, sides...); err != nil {
				return err
			}
			for _, c := range sides {
				rss, err := process.RSS(c.pid)
				if err != nil {
					return err
				}
				rate := median(c.rates())
				rows = append(rows, []string{
					fmt.Sprintf("%s %d KiB", method, size>>10), c.name, fmt.Sprintf("%.0f", rate), fmt.Sprintf("%.0f", rate*float64(size)/(1<<20)),
					fmt.Sprintf("%.2f", ratio(c, sides[len(sides)-1])), micro(c.cpu()), fmt.Sprintf("%d MB", rss>>20),
				})
			}
		}
	}
	table("S3, 64 keys, payload hash signed, over HTTP", rows...)
	_, err = server.Stop()
	return err
}

// startVersity runs versitygw with its posix backend.
func startVersity(ctx context.Context, dir string) (*exec.Cmd, string, error) {
	bin, err := exec.LookPath("versitygw")
	if err != nil {
		return nil, "", exec.ErrNotFound
	}
	root := filepath.Join(dir, "versitygw")
	if err := os.Mkdir(root, 0o700); err != nil {
		return nil, "", err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, bin, "--port", addr, "--access", "bench", "--secret", "benchsecret", "--region", region, "--quiet", "posix", root)
	cmd.Env = process.CleanEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &strings.Builder{}
	cmd.Stderr, cmd.Stdout = log, io.Discard
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr); err == nil {
			return cmd, "http://" + addr, c.Close()
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil, "", fmt.Errorf("versitygw does not listen: %s", log)
}
