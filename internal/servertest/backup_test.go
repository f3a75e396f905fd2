package servertest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/backup"
	"github.com/sekisho-iot/sekisho/internal/client"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// body is what the test stores under a key: of a size that the key decides.
func body(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	r := mathrand.NewChaCha8(sum)
	b := make([]byte, 1+r.Uint64()%(60<<10)) // some in the database, most in files
	_, _ = r.Read(b)
	return b
}

func putBody(t *testing.T, c *s3.Client, key string) error {
	t.Helper()
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key, Body: bytes.NewReader(body(key))})
	return err
}

// away is a persistent session of MQTT whose client is not there.
func away(t *testing.T, d *servertest.Device, id, filter string) {
	t.Helper()
	c := &talker{Conn: d.DialMQTT("x-amzn-mqtt-ca")}
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	must(t, c.send(&mqtt.Connect{Version: mqtt.V311, ClientID: []byte(id)},
		&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: []byte(filter)}, Options: 1}}}))
	for range 2 { // CONNACK, SUBACK
		_, _, err := c.next()
		must(t, err)
	}
	must(t, c.send(&mqtt.Disconnect{}))
	_, _, _ = c.next() // until the server has closed it
}

// TestBackup: what was acknowledged before a backup under load began is in it,
// as are the keys: sessions and devices of before go on where it is restored.
func TestBackup(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	d := s.Enrol("pump")
	away(t, d, "sleeper", "news/#")
	must(t, listen(t, d, "pump").tell("news/1", []byte("while you were away")))
	user := s.NewUser("operator", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	session := s.S3As(d.Session())
	// While nobody reads, the server is held up in the middle of this one.
	_, err := s.S3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(servertest.Bucket), Key: aws.String("first"), Body: bytes.NewReader(make([]byte, 32<<20))})
	must(t, err)
	var stop atomic.Bool
	var writers sync.WaitGroup
	var mu sync.Mutex
	var acknowledged []string
	for w := range 4 {
		c := s.S3As(d.Session())
		writers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				key := fmt.Sprintf("pump/%d/%d", w, n)
				if err := putBody(t, c, key); err != nil {
					t.Error(err)
					return
				}
				if n%3 == 0 { // there is always something for the reaper
					gone := fmt.Sprintf("pump/%d/gone", w)
					if err := putBody(t, c, gone); err != nil {
						t.Error(err)
					}
				}
				mu.Lock()
				acknowledged = append(acknowledged, key)
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	for count() < 200 && !t.Failed() {
		time.Sleep(10 * time.Millisecond)
	}
	before := count()
	transfer, err := backup.NewTransfer()
	must(t, err)
	sent, err := s.Backup(servertest.Admin(), transfer.Recipient())
	must(t, err)
	for count() < before+50 && !t.Failed() { // meanwhile garbage is made, and would be removed
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // what the reaper takes to begin
	plain, err := transfer.Open(sent)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "restored")
	r, err := server.Restore(t.Context(), plain, dir, rand.Reader, time.Now)
	stop.Store(true)
	writers.Wait()
	must(t, err)
	must(t, sent.Close())
	if r.Region != servertest.Region || r.Objects == 0 {
		t.Errorf("restored %+v", r)
	}
	if left, err := filepath.Glob(filepath.Join(s.Data, ".backup-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Elsewhere.
	two := servertest.Start(t, func(o *server.Options) { o.Data = dir })
	for _, key := range acknowledged[:before] {
		out, err := two.S3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key})
		must(t, err)
		got, err := io.ReadAll(out.Body)
		must(t, err)
		if !bytes.Equal(got, body(key)) {
			t.Errorf("%s: %d bytes are not those that were stored", key, len(got))
		}
	}
	k := retrieve(t, session.Options().Credentials)
	old := two.S3As(credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken))
	must(t, putBody(t, old, "pump/after"))
	_, err = two.S3As(user).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	must(t, err)
	moved := two.Known(d)
	if moved.Session() == nil {
		t.Error("no credentials")
	}
	c := &listener{talker: &talker{Conn: moved.DialMQTT("x-amzn-mqtt-ca")}, t: t, decoder: mqtt.Decoder{Version: mqtt.V311, From: mqtt.Server}}
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	must(t, c.send(&mqtt.Connect{Version: mqtt.V311, ClientID: []byte("sleeper")}))
	if _, frame, err := c.next(); err != nil || frame[2] != 1 {
		t.Fatalf("no session: %x, %v", frame, err)
	}
	if topic, payload := c.hear(); topic != "news/1" || string(payload) != "while you were away" {
		t.Errorf("heard %q on %s", payload, topic)
	}
}

// TestSecurityRule1_Backup: every key is in a backup, so that nobody may make
// one who was not given just that.
func TestSecurityRule1_Backup(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	transfer, err := backup.NewTransfer()
	must(t, err)
	code := func(err error) string {
		if e, ok := err.(*client.Error); ok { //nolint:errorlint // as it is returned
			return e.Code
		}
		return fmt.Sprint(err)
	}
	other := s.NewUser("other", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","iot:*","iam:*","sts:*","sekisho:Explain"],"Resource":"*"}]}`)
	if _, err := s.Backup(other, transfer.Recipient()); code(err) != "AccessDeniedException" {
		t.Errorf("got %v", err)
	}
	for _, recipient := range []string{"", "age1", "AGE-SECRET-KEY-1", strings.Repeat("age1", 1000)} {
		if _, err := s.Backup(servertest.Admin(), recipient); code(err) != "InvalidRequestException" {
			t.Errorf("%.20q: got %v", recipient, err)
		}
	}
	given := s.NewUser("given", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sekisho:CreateBackup","Resource":"*"}]}`)
	first, err := s.Backup(given, transfer.Recipient())
	must(t, err)
	if b, err := io.ReadAll(first); err != nil || bytes.Contains(b, []byte("PRIVATE KEY")) || bytes.Contains(b, []byte("secretAccessKey")) {
		t.Errorf("%d bytes, not sealed; %v", len(b), err)
	}
	must(t, first.Close())
	if log := s.Log.String(); !strings.Contains(log, `"msg":"backup begun`) || !strings.Contains(log, "user/given") {
		t.Error("the log does not say who made a backup")
	}
}

// TestRestoreLeavesNothing: a backup that is no good leaves neither a folder nor a file.
func TestRestoreLeavesNothing(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	must(t, putBody(t, s.S3, "pump/big"))
	transfer, err := backup.NewTransfer()
	must(t, err)
	sent, err := s.Backup(servertest.Admin(), transfer.Recipient())
	must(t, err)
	plain, err := transfer.Open(sent)
	must(t, err)
	archive, err := io.ReadAll(plain)
	must(t, err)
	try := func(dir string, b []byte) error {
		_, err := server.Restore(t.Context(), bytes.NewReader(b), dir, rand.Reader, time.Now)
		return err
	}
	changed := bytes.Clone(archive) // sealed again by somebody: the archive's own checks are left
	at := bytes.Index(changed, []byte("SQLite format 3"))
	for i := range 4096 {
		changed[at+8192+i] = 0xff
	}
	for name, b := range map[string][]byte{"cut": archive[:len(archive)/2], "no end": archive[:len(archive)-2048], "database": changed, "empty": nil} {
		dir := filepath.Join(t.TempDir(), "new")
		if err := try(dir, b); err == nil {
			t.Errorf("%s: restored", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the folder was left", name)
		}
		dir = t.TempDir()
		if err := try(dir, b); err == nil {
			t.Errorf("%s: restored", name)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: left %v, %v", name, entries, err)
		}
	}
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	if err := try(full, archive); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
	must(t, try(filepath.Join(t.TempDir(), "new"), archive))
	// What was being restored when the power failed is no data folder.
	half := t.TempDir()
	must(t, os.Mkdir(filepath.Join(half, ".restore"), 0o700))
	o := server.DefaultOptions()
	o.Data = half
	if _, err := server.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("got %v", err)
	}
}
