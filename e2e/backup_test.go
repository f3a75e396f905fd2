//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestBackupUnderLoad: `sekisho backup` while devices upload; what was
// acknowledged before it began is there where it is restored, checksums and
// all, and the devices and sessions of before go on.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t)
	bucket := s.bucket(t)
	_, role := s.role(t, trustCredentials(), document(allow("s3:*", []string{"arn:aws:s3:::" + bucket + "/${credentials-iot:ThingName}/*"})))
	alias, aliasARN := s.alias(t, role)
	d := s.device(t, aliasARN)
	uploads := s3.NewFromConfig(s.config(d.session(t, alias)), pathStyle)
	d.grant(t, everything())
	sleeper := d.open(t, session{id: "sleeper", keep: true})
	_, err := sleeper.subscribe(1, "news/#")
	check(t, err)
	check(t, sleeper.Close())
	_, err = d.open(t, session{id: "speaker"}).publish(1, false, "news/1", "while you were away")
	check(t, err)

	put := func(ctx context.Context, key string, body []byte) error {
		_, err := uploads.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
		return err
	}
	type object struct{ key, sum string }
	var mu sync.Mutex
	var stored []object
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				b := make([]byte, 1<<(n%22)) // to 2 MiB
				_, _ = rand.Read(b)
				o := object{fmt.Sprintf("%s/%d-%d", d.thing, w, n), sum(t, bytes.NewReader(b))}
				if err := put(ctx, o.key, b); err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				if err := put(ctx, fmt.Sprintf("%s/%d-same", d.thing, w), b); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				mu.Lock()
				stored = append(stored, o)
				mu.Unlock()
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		n := len(stored)
		mu.Unlock()
		if n >= 100 {
			break
		}
	}
	mu.Lock()
	before := stored
	mu.Unlock()
	bin, err := process.Binary()
	check(t, err)
	dir := t.TempDir()
	sealed := filepath.Join(dir, "fleet.age")
	env := s.environ("SEKISHO_BACKUP_PASSPHRASE=a passphrase of some length")
	runIn(t, dir, env, bin, "backup", sealed)
	stop()
	writers.Wait()
	check(t, s.Kill())

	restored := filepath.Join(dir, "restored")
	for name, change := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"changed": func(b []byte) []byte { b[len(b)/3] ^= 1; return b },
	} {
		b, err := os.ReadFile(sealed)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, name), change(b), 0o600))
		if _, stderr, err := try(t, dir, env, bin, "restore", name, "--data", restored); err == nil || !bytes.Contains([]byte(stderr), []byte("damaged")) {
			t.Errorf("%s: %v, %s", name, err, stderr)
		}
		if _, err := os.Stat(restored); err == nil {
			t.Fatalf("%s: something was left", name)
		}
	}
	runIn(t, dir, env, bin, "restore", sealed, "--data", restored)
	two := startIn(t, restored)
	if len(before) < 100 {
		t.Errorf("only %d objects were stored", len(before))
	}
	for _, o := range before {
		if got := two.objectSum(t, bucket, o.key); got != o.sum {
			t.Errorf("%s has SHA-256 %s, want %s", o.key, got, o.sum)
		}
	}
	k, err := uploads.Options().Credentials.Retrieve(t.Context())
	check(t, err)
	uploads = s3.NewFromConfig(two.config(credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken)), pathStyle)
	check(t, put(t.Context(), d.thing+"/after", []byte("after")))
	d.s = two
	if _, err := d.fetch(t.Context(), alias); err != nil {
		t.Error(err)
	}
	m, err := d.open(t, session{id: "sleeper", keep: true}).receive(10 * time.Second)
	if err != nil || string(m.Payload) != "while you were away" {
		t.Errorf("heard %q, %v", m.Payload, err)
	}
}
