//go:build e2e && linux

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// startOnDisk runs a server whose data folder is a small file system of its own.
func startOnDisk(t *testing.T, size string, extra ...string) *server {
	t.Helper()
	mount := filepath.Join(t.TempDir(), "data")
	check(t, os.Mkdir(mount, 0o700))
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	s := startIn(t, mount, extra...)
	t.Cleanup(func() {
		_ = s.Kill()
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestFullDisk: without a reserve, a PUT that the disk cannot hold is a 500 InternalError; the old
// object stays as it was, the server stays up, and room that is given back can
// be used.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := startOnDisk(t, "48m", "--disk-reserve", "0")
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

// TestDiskNearlyFull: below the reserve what adds something is refused, before
// anything is damaged; reading, deleting, finishing and revoking go on, and when
// something was deleted all of it works again.
func TestDiskNearlyFull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startOnDisk(t, "64m", "--disk-reserve", "24MiB")
	bucket := s.bucket(t)
	_, role := s.role(t, trustCredentials(), document(allow("s3:*", "*")))
	alias, aliasARN := s.alias(t, role)
	d := s.device(t, aliasARN)
	d.grant(t, everything())
	sleeper := d.open(t, session{id: "sleeper", keep: true})
	_, err := sleeper.subscribe(1, "kept")
	check(t, err)
	check(t, sleeper.Close())
	body := make([]byte, 5<<20)
	_, _ = rand.Read(body)
	put := func(key string) error {
		_, err := s.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
		return err
	}
	upload := func(key string) *string {
		out, err := s.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
		check(t, err)
		return out.UploadId
	}
	part := func(key string, id *string, n int32) (*s3.UploadPartOutput, error) {
		return s.s3.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: id, PartNumber: &n, Body: bytes.NewReader(body)})
	}
	finished, given := upload("finished"), upload("given up")
	first, err := part("finished", finished, 1)
	check(t, err)
	check(t, put("kept"))
	// What would not fit is refused before its bytes are taken.
	_, err = s.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("huge"), Body: bytes.NewReader(make([]byte, 50<<20))})
	wantError(t, "a body over the reserve", err, 503, "SlowDown")
	var stored []string
	for n := 0; err != nil && n < 20; n++ {
		key := "fill-" + string(rune('a'+n))
		if err := put(key); err != nil {
			wantError(t, "PUT", err, 503, "SlowDown")
			break
		}
		stored = append(stored, key)
	}
	if len(stored) < 2 || len(stored) > 7 {
		t.Errorf("%d objects of 5 MiB fitted", len(stored))
	}
	// A few bytes more, and the server says so.
	for n := 0; s.metric(t, "sekisho_disk_low") == 0 && n < 600; n++ {
		small := make([]byte, 1<<10<<(n%8))
		_, _ = s.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("small-" + unique("x")), Body: bytes.NewReader(small)})
		time.Sleep(10 * time.Millisecond)
	}
	if got := s.readyz(t); !strings.Contains(got, "nearly full") {
		t.Errorf("readyz says %s", got)
	}
	wantError(t, "PUT", put("x"), 503, "SlowDown")
	_, err = part("given up", given, 1)
	wantError(t, "UploadPart", err, 503, "SlowDown")
	_, err = s.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("late")})
	wantError(t, "CreateThing", err, 503, "ServiceUnavailableException")
	_, err = s.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("late")})
	wantError(t, "CreateUser", err, 503, "ServiceFailure")
	five := d.open(t, session{id: "five", version: mqtt.V5})
	for _, retain := range []bool{false, true} {
		if code, err := five.publish(1, retain, "kept", "x"); err != nil || code != mqtt.QuotaExceeded {
			t.Errorf("retain %v: PUBACK %#x, %v", retain, byte(code), err)
		}
	}
	if code, err := five.publish(1, false, "nobody", "x"); err != nil || code >= 0x80 {
		t.Errorf("what nobody keeps: PUBACK %#x, %v", byte(code), err)
	}
	if _, err := d.open(t, session{id: "three"}).publish(1, false, "kept", "x"); err == nil {
		t.Error("3.1.1 had a PUBACK for what was not kept")
	}
	// What has to go on.
	if got, want := s.objectSum(t, bucket, "kept"), sum(t, bytes.NewReader(body)); got != want {
		t.Errorf("the object has SHA-256 %s, want %s", got, want)
	}
	_, err = d.fetch(ctx, alias)
	check(t, err)
	_, err = s.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: aws.String("finished"), UploadId: finished,
		MultipartUpload: &s3types.CompletedMultipartUpload{Parts: []s3types.CompletedPart{{PartNumber: aws.Int32(1), ETag: first.ETag}}},
	})
	check(t, err)
	_, err = s.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: aws.String("given up"), UploadId: given})
	check(t, err)
	d.setStatus(t, iottypes.CertificateStatusInactive)
	if _, err := d.fetch(ctx, alias); err == nil {
		t.Error("a certificate that was deactivated is served")
	}
	d.setStatus(t, iottypes.CertificateStatusActive)
	bin, err := process.Binary()
	check(t, err)
	if _, stderr, err := try(t, t.TempDir(), s.environ("SEKISHO_BACKUP_PASSPHRASE=a passphrase of some length"), bin, "keys", "rotate"); err != nil {
		t.Errorf("keys rotate: %v, %s", err, stderr)
	}
	// A restart finds it as it is.
	check(t, s.Kill())
	check(t, s.Restart(ctx))
	s.connect()
	wantError(t, "PUT after a restart", put("x"), 503, "SlowDown")
	for _, key := range stored {
		_, err = s.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		check(t, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = put("again"); err == nil || time.Now().After(deadline) {
			break
		}
	}
	check(t, err)
	_, err = s.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("late")})
	check(t, err)
	if code, err := d.open(t, session{id: "five", version: mqtt.V5}).publish(1, false, "kept", "at last"); err != nil || code != 0 {
		t.Errorf("PUBACK %#x, %v", byte(code), err)
	}
	m, err := d.open(t, session{id: "sleeper", keep: true}).receive(10 * time.Second)
	if err != nil || string(m.Payload) != "at last" {
		t.Errorf("heard %q, %v", m.Payload, err)
	}
	if got := s.readyz(t); strings.Contains(got, "nearly full") {
		t.Errorf("readyz says %s", got)
	}
	log, err := os.ReadFile(s.Log)
	check(t, err)
	if full, room := bytes.Count(log, []byte("the disk is nearly full")), bytes.Count(log, []byte("the disk has room again")); full != 2 || room != 1 {
		t.Errorf("logged %d times that it is nearly full, and %d times that it is not: twice (a restart) and once are right", full, room)
	}
}

func (s *server) readyz(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Env["AWS_ENDPOINT_URL"]+"/_sekisho/readyz", http.NoBody)
	check(t, err)
	res, err := http.DefaultTransport.RoundTrip(req)
	check(t, err)
	defer shut(t, res.Body)
	b, err := io.ReadAll(res.Body)
	check(t, err)
	if res.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", res.Status)
	}
	return string(b)
}
