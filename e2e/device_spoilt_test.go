//go:build e2e

package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/faults"
)

// TestDeviceSpoilt: on the way to S3 without TLS bits flip, which nothing but
// checksums and signatures notices.
func TestDeviceSpoilt(t *testing.T) {
	t.Parallel()
	o := newOrdeal(t, 0)
	proxy, err := faults.Start(faults.Config{
		Target: func() (string, error) {
			e, err := o.Endpoints()
			return e["api"], err
		},
		Seed: o.random.Uint64(), Every: 1500 * time.Millisecond, Spoil: 1, SpoilWithin: 100 * time.Millisecond,
	})
	check(t, err)
	defer shut(t, proxy)
	for _, p := range []*faults.Proxy{o.api, o.mqtt, o.credentials} {
		p.Quiet()
	}
	path := filepath.Join(o.dir, "device", "device.json")
	b, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, []byte(strings.Replace(string(b), "https://"+o.api.Addr(), "http://"+proxy.Addr(), 1)), 0o600))
	ear := o.device.open(t, session{id: o.device.thing})
	_, err = ear.subscribe(1, "file/upload", "file/upload/failed")
	check(t, err)
	add := func(name string, size int64) {
		t.Helper()
		sum, err := writeRandom(filepath.Join(o.folder, name), uint64(size), size)
		check(t, err)
		o.files[name] = &ordealFile{size, sum}
	}
	for name, size := range map[string]int64{"one.bin": 1 << 20, "six.bin": 6 << 20, "forty.bin": 40 << 20} {
		add(name, size)
	}
	// A byte may be spoilt where nobody minds, as in an answer's date.
	minded := func() bool {
		t.Helper()
		said, err := os.ReadFile(o.agentLog())
		check(t, err)
		return strings.Contains(string(said), "next try")
	}
	o.startAgent(t)
	told := map[string]string{} // upload ids by name
	for end := time.Now().Add(calm); len(told) < len(o.files) || !minded(); {
		if len(told) == len(o.files) {
			add(fmt.Sprintf("more-%d.bin", len(told)), 20<<20+int64(len(told)))
		}
		if time.Now().After(end) {
			t.Fatalf("in %s only %v came", calm, told)
		}
		m, err := ear.receive(time.Second)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		check(t, err)
		var notice struct{ Name, SHA256, UploadID string }
		check(t, json.Unmarshal(m.Payload, &notice))
		if f := o.files[notice.Name]; f == nil || notice.SHA256 != f.sha256 || told[notice.Name] != "" && told[notice.Name] != notice.UploadID {
			t.Errorf("told: %s", m.Payload)
		}
		told[notice.Name] = notice.UploadID
	}
	o.stopAgent(t)
	for name, f := range o.files {
		got, err := o.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &o.bucket, Key: aws.String(o.thing + "/" + name)})
		check(t, err)
		h := sha256.New()
		n, err := io.Copy(h, got.Body)
		check(t, errors.Join(err, got.Body.Close()))
		if sum := hex.EncodeToString(h.Sum(nil)); n != f.size || sum != f.sha256 {
			t.Errorf("%s has %d bytes and %s, the file had %d and %s", name, n, sum, f.size, f.sha256)
		}
	}
	if n := proxy.Stats().Spoilt; n == 0 {
		t.Error("no byte was spoilt")
	} else {
		t.Logf("%d bytes were spoilt", n)
	}
}
