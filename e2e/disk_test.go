//go:build e2e && linux

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestFullDisk: a PUT that the disk cannot hold is a 500 InternalError; the old
// object stays as it was, the server stays up, and room that is given back can
// be used.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	mount := filepath.Join(t.TempDir(), "data")
	check(t, os.Mkdir(mount, 0o700))
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	s := startIn(t, mount)
	t.Cleanup(func() {
		_ = s.Kill()
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	bucket := s.bucket(t)
	old := make([]byte, 1<<20)
	_, _ = rand.Read(old)
	send := func(key string, body []byte) error {
		_, err := s.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
		return err
	}
	check(t, send("kept", old))
	big := make([]byte, 60<<20)
	wantError(t, "60 MiB over the old object", send("kept", big), 500, "InternalError")
	var stored []string
	var err error
	for n := 0; err == nil && n < 100; n++ {
		key := "fill-" + string(rune('A'+n%26)) + string(rune('a'+n/26))
		if err = send(key, old); err == nil {
			stored = append(stored, key)
		}
	}
	wantError(t, "PUT on the full disk", err, 500, "InternalError")
	if len(stored) < 20 {
		t.Errorf("only %d MiB fitted in 48: the refused upload left something behind", len(stored))
	}
	if got, want := s.objectSum(t, bucket, "kept"), sum(t, bytes.NewReader(old)); got != want {
		t.Errorf("the old object has SHA-256 %s, want %s", got, want)
	}
	if !s.Running() {
		t.Fatal("the server has ended")
	}
	_, err = s.iot.ListThings(t.Context(), &iot.ListThingsInput{})
	check(t, err)
	for _, key := range stored {
		// Full to the last byte, there may be no room to note a deletion until
		// what the refused upload left is gone.
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, err = s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String(key)})
			if err == nil || time.Now().After(deadline) {
				break
			}
		}
		check(t, err)
	}
	// The room comes back in the background.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = send("again", old); err == nil || time.Now().After(deadline) {
			break
		}
	}
	check(t, err)
	check(t, send("kept", old[:1000]))
	check(t, s.Kill())
	check(t, s.Restart(t.Context()))
	s.connect()
	if got, want := s.objectSum(t, bucket, "kept"), sum(t, bytes.NewReader(old[:1000])); got != want {
		t.Errorf("after a restart the object has SHA-256 %s, want %s", got, want)
	}
}
