//go:build e2e

package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/faults"
	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
)

// TestDeviceFaults: a device that watches a folder uploads 100 files while its
// network cuts, stalls and spoils connections, and itself and the server are
// killed again and again. Then all is there, once and bit-exact.
// SEKISHO_E2E_SEED repeats what the faults of another run were.
func TestDeviceFaults(t *testing.T) {
	t.Parallel()
	testDeviceFaults(t, 100, time.Minute)
}

const (
	calm        = 90 * time.Second // in which all must have arrived once the faults have ended
	faultsPart  = 8 << 20          // the agent's default
	faultsSlack = 256 << 10        // what a request has beside its body, at most
)

// ordeal is one device, its server, the bad network between them, and what came through.
type ordeal struct {
	*server
	random *rand.Rand
	device *device // who listens, by the good network
	bin    string
	bucket string
	thing  string
	dir    string
	folder string // that is watched

	api, mqtt, credentials *faults.Proxy

	files map[string]*ordealFile // by name

	agent *exec.Cmd
	ended chan error // what the agent's process ended with
	kills struct{ agent, server int }

	mu      sync.Mutex // guards what follows
	notices map[string][]upload.Message
	events  map[string]map[int64]bool // of completed uploads: upload id to numbers
	failed  []string                  // messages of failure
	trouble error
}

type ordealFile struct {
	size   int64
	sha256 string
}

func testDeviceFaults(t *testing.T, files int, duration time.Duration) {
	o := newOrdeal(t, files)
	listening, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	subscribed := make(chan struct{})
	group.Go(func() { o.listen(listening, subscribed) })
	defer group.Wait()
	defer stop()
	<-subscribed

	o.startAgent(t)
	begun := time.Now()
	group.Go(func() { o.write(listening, t, begun, duration) })
	o.killAll(t, begun.Add(duration))
	for _, p := range []*faults.Proxy{o.api, o.mqtt, o.credentials} {
		p.Quiet()
	}
	faultsOver := time.Now()
	o.awaitAll(t, faultsOver.Add(calm))
	t.Logf("all had arrived %s after the end of the faults", time.Since(faultsOver).Round(time.Second))
	o.stopAgent(t)
	o.checkNotices(t)
	o.checkObjects(t)
	o.checkLedger(t)
	o.checkBytes(t)
	if left := o.left(t); len(left) > 0 {
		t.Errorf("left in the spool: %+v", left)
	}
}

func newOrdeal(t *testing.T, files int) *ordeal {
	t.Helper()
	seed := rand.Uint64()
	if v := os.Getenv("SEKISHO_E2E_SEED"); v != "" {
		var err error
		seed, err = strconv.ParseUint(v, 10, 64)
		check(t, err)
	}
	t.Logf("SEKISHO_E2E_SEED=%d", seed)
	o := &ordeal{
		server: start(t), random: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), thing: unique("camera"),
		files: map[string]*ordealFile{}, notices: map[string][]upload.Message{}, events: map[string]map[int64]bool{},
	}
	t.Cleanup(func() {
		if b, err := os.ReadFile(o.agentLog()); err == nil && t.Failed() {
			t.Logf("the agent said, in the end:\n%s", b[max(0, len(b)-8000):])
		}
	})
	var err error
	o.bin, err = process.Binary()
	check(t, err)
	o.bucket = o.server.bucket(t)
	_, roleARN := o.role(t, trustCredentials(), document(allow(
		[]string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}, "arn:aws:s3:::"+o.bucket+"/${credentials-iot:ThingName}/*")))
	alias, _ := o.alias(t, roleARN)
	out := filepath.Join(o.dir, "device")
	runIn(t, o.dir, o.environ(), o.bin, "enroll", o.thing, "--role-alias", alias, "--uploads", o.bucket, "--out", out)
	o.folder = filepath.Join(o.dir, "camera")
	check(t, os.MkdirAll(filepath.Join(o.folder, "sub"), 0o700))
	o.device = o.server.device(t)
	o.device.grant(t, everything())

	proxy := func(endpoint string, number uint64, every time.Duration) *faults.Proxy {
		p, err := faults.Start(faults.Config{
			Target: func() (string, error) {
				e, err := o.Endpoints()
				return e[endpoint], err
			},
			Seed: seed + number, Every: every, Cut: 5, Stall: 3, Spoil: 2, ShortStall: 500 * time.Millisecond, LongStall: 20 * time.Second,
		})
		check(t, err)
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	o.api, o.mqtt, o.credentials = proxy("api", 1, 4*time.Second), proxy("mqtt", 2, 5*time.Second), proxy("device_https", 3, 50*time.Millisecond)
	o.redirect(t, filepath.Join(out, "device.json"))
	for n := range files {
		// From 1 KiB to 64 MiB, most of them small: half go inside a message, a few in parts.
		share := math.Pow(float64(n)/float64(files-1), 1.5)
		o.files[o.name(n)] = &ordealFile{size: int64(1024 * math.Pow(65536, share))}
	}
	return o
}

func (o *ordeal) name(n int) string {
	if n%5 == 0 {
		return fmt.Sprintf("sub/file %d.bin", n)
	}
	return fmt.Sprintf("file %d.bin", n)
}

// redirect has the device find its server behind the proxies.
func (o *ordeal) redirect(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	var conf map[string]any
	check(t, json.Unmarshal(b, &conf))
	conf["endpoints"] = map[string]string{"credentials": o.credentials.Addr(), "mqtt": o.mqtt.Addr(), "s3": "https://" + o.api.Addr()}
	b, err = json.Marshal(conf)
	check(t, err)
	check(t, os.WriteFile(path, b, 0o600))
}

func (o *ordeal) agentLog() string { return filepath.Join(o.dir, "agent.log") }

func (o *ordeal) startAgent(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(o.agentLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(t, err)
	defer shut(t, log)
	o.agent = exec.Command(o.bin, "device", "watch", "--config", filepath.Join(o.dir, "device", "device.json"), "--delete-after", //nolint:noctx // it is killed
		"--spool", filepath.Join(o.dir, "spool"), "--cache", filepath.Join(o.dir, "cache"), "--bandwidth", "16MiB",
		"--poll", "200ms", "--settle", "300ms", o.folder)
	o.agent.Env, o.agent.Stdout, o.agent.Stderr = []string{"HOME=" + o.dir}, log, log
	o.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	o.ended = make(chan error, 1)
	started := make(chan error)
	go func(cmd *exec.Cmd, ended chan<- error) {
		runtime.LockOSThread() // the parent-death signal is tied to the thread that forks
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}(o.agent, o.ended)
	check(t, <-started)
	t.Cleanup(func() { _ = o.agent.Process.Kill() })
}

func (o *ordeal) stopAgent(t *testing.T) {
	t.Helper()
	check(t, o.agent.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-o.ended:
		check(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("the agent does not end")
	}
}

// killAll kills the agent and the server by turns until the time is over.
func (o *ordeal) killAll(t *testing.T, until time.Time) {
	t.Helper()
	for n := 0; ; n++ {
		wait := time.Duration(4+4*o.random.Float64()) * time.Second
		if time.Now().Add(wait).After(until.Add(-2 * time.Second)) {
			time.Sleep(time.Until(until))
			return
		}
		time.Sleep(wait)
		pause := time.Duration(2 * o.random.Float64() * float64(time.Second))
		if n%2 == 0 {
			o.awaitParts(t)
			select {
			case err := <-o.ended:
				t.Fatalf("the agent ended by itself: %v", err)
			default:
			}
			check(t, o.agent.Process.Kill())
			if err := <-o.ended; err == nil {
				t.Fatal("the agent was killed and ended well")
			}
			if n%4 == 0 { // its credentials are lost as well
				check(t, os.RemoveAll(filepath.Join(o.dir, "cache")))
			}
			time.Sleep(pause)
			o.startAgent(t)
			o.kills.agent++
			continue
		}
		check(t, o.Kill())
		time.Sleep(pause)
		check(t, o.Restart(t.Context()))
		o.connect()
		o.kills.server++
	}
}

// awaitParts waits a while for a moment at which an upload is half done.
func (o *ordeal) awaitParts(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		list, err := o.s3.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &o.bucket})
		check(t, err)
		for _, u := range list.Uploads {
			parts, err := o.s3.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &o.bucket, Key: u.Key, UploadId: u.UploadId})
			if err == nil && len(parts.Parts) > 0 { // it may be complete by now
				return
			}
		}
	}
}

// write has the camera make its files, over most of the time.
func (o *ordeal) write(ctx context.Context, t *testing.T, begun time.Time, duration time.Duration) {
	names := make([]string, 0, len(o.files))
	for n := range o.files {
		names = append(names, n)
	}
	slices.Sort(names)
	rand.New(rand.NewPCG(1, uint64(len(names)))).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i, name := range names {
		due := begun.Add(duration * 8 / 10 * time.Duration(i) / time.Duration(len(names)))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		sum, err := writeRandom(filepath.Join(o.folder, name), uint64(i), o.files[name].size)
		if err != nil {
			t.Error(err)
			return
		}
		o.mu.Lock()
		o.files[name].sha256 = sum
		o.mu.Unlock()
	}
}

// writeRandom makes a file of bytes that follow from number, under its name only
// when it is whole, and returns their SHA-256.
func writeRandom(path string, number uint64, size int64) (sum string, err error) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], number)
	content := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(content)
	if err := os.WriteFile(path+".part", content, 0o600); err != nil {
		return "", err
	}
	h := sha256.Sum256(content)
	return hex.EncodeToString(h[:]), os.Rename(path+".part", path)
}

// listen hears what the server tells, by a session that outlives its crashes.
func (o *ordeal) listen(ctx context.Context, subscribed chan<- struct{}) {
	known := false
	for ctx.Err() == nil {
		err := o.attend(ctx, &known, subscribed)
		if err != nil && ctx.Err() == nil {
			o.mu.Lock()
			o.trouble = errors.Join(o.trouble, err)
			o.mu.Unlock()
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// attend is one connection of it. Only what must not be is an error.
func (o *ordeal) attend(ctx context.Context, known *bool, subscribed chan<- struct{}) error {
	e, err := o.Endpoints()
	if err != nil {
		return nil //nolint:nilerr // the server is away
	}
	l, err := o.device.dial(ctx, e["mqtt"])
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	defer l.Close() //nolint:errcheck // the server may be gone
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	ack, err := l.connect(session{id: o.device.thing, keep: true, keepAlive: 1200})
	if err != nil || ack.Code != 0 {
		return nil //nolint:nilerr // the same
	}
	if *known && !ack.SessionPresent {
		return errors.New("the server has lost the listener's session")
	}
	if !*known {
		codes, err := l.subscribe(1, "file/upload", "file/upload/failed", "$sekisho/events/uploads/#")
		if err != nil || slices.Max(codes) > 1 {
			return fmt.Errorf("SUBACK %v, %w", codes, err)
		}
		*known = true
		close(subscribed)
	}
	for {
		m, err := l.receive(time.Hour)
		if len(m.Payload) > 0 {
			if terr := o.take(string(m.Topic), m.Payload); terr != nil {
				return terr
			}
		}
		if err != nil {
			return nil
		}
	}
}

func (o *ordeal) take(topic string, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case topic == "file/upload":
		var m upload.Message
		if err := json.Unmarshal(payload, &m); err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
		o.notices[m.Name] = append(o.notices[m.Name], m)
	case strings.HasPrefix(topic, "$sekisho/events/uploads/completed/"):
		var r struct {
			Number   int64
			UploadID string
		}
		if err := json.Unmarshal(payload, &r); err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
		if o.events[r.UploadID] == nil {
			o.events[r.UploadID] = map[int64]bool{}
		}
		o.events[r.UploadID][r.Number] = true
	case topic == "file/upload/failed":
		o.failed = append(o.failed, string(payload))
	}
	return nil
}

// awaitAll waits until every file has its notice and is gone from the folder.
func (o *ordeal) awaitAll(t *testing.T, until time.Time) {
	t.Helper()
	for {
		heard, left := o.arrived(t)
		o.mu.Lock()
		trouble := o.trouble
		o.mu.Unlock()
		check(t, trouble)
		if heard == len(o.files) && left == 0 {
			return
		}
		if time.Now().After(until) {
			t.Errorf("%s after the faults %d of %d notices have come, and %d files are still there", calm, heard, len(o.files), left)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (o *ordeal) arrived(t *testing.T) (heard, left int) {
	t.Helper()
	o.mu.Lock()
	heard = len(o.notices)
	o.mu.Unlock()
	check(t, filepath.WalkDir(o.folder, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left++
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}))
	return heard, left
}

// left is what the spool still has.
func (o *ordeal) left(t *testing.T) []spool.Record {
	t.Helper()
	s, err := spool.Open(filepath.Join(o.dir, "spool"))
	check(t, err)
	defer shut(t, s)
	return s.Records()
}

// checkNotices: every file was told, if more than once then in the same words.
func (o *ordeal) checkNotices(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failed) > 0 {
		t.Errorf("failures were told: %s", o.failed)
	}
	repeated := 0
	for name, list := range o.notices {
		f := o.files[name]
		if f == nil {
			t.Errorf("a notice of %q, which there never was", name)
			continue
		}
		repeated += len(list) - 1
		for _, m := range list {
			if m.Thing != o.thing || m.UploadID != list[0].UploadID || m.Type != list[0].Type || m.URL != list[0].URL || *m.Size != f.size || m.SHA256 != f.sha256 {
				m.Content = ""
				t.Errorf("%s, of %d bytes and %s: %+v after upload id %s", name, f.size, f.sha256, m, list[0].UploadID)
			}
			if m.Type == "file_content" {
				b, err := base64.StdEncoding.DecodeString(m.Content)
				if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != f.sha256 {
					t.Errorf("%s: the message has %d bytes that are not the file's, %v", name, len(b), err)
				}
			}
		}
	}
	t.Logf("%d notices, %d of them repeated", len(o.notices)+repeated, repeated)
}

// checkObjects: every file above the size of a message is there, and nothing else.
func (o *ordeal) checkObjects(t *testing.T) {
	t.Helper()
	objects := map[string]bool{}
	pages := s3.NewListObjectsV2Paginator(o.s3, &s3.ListObjectsV2Input{Bucket: &o.bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		for _, object := range page.Contents {
			objects[strings.TrimPrefix(*object.Key, o.thing+"/")] = true
		}
	}
	for name, f := range o.files {
		if f.size <= upload.DefaultInlineMax {
			continue
		}
		if !objects[name] {
			t.Errorf("%s is not there", name)
			continue
		}
		delete(objects, name)
		got, err := o.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &o.bucket, Key: aws.String(o.thing + "/" + name)})
		check(t, err)
		h := sha256.New()
		n, err := io.Copy(h, got.Body)
		check(t, errors.Join(err, got.Body.Close()))
		if sum := hex.EncodeToString(h.Sum(nil)); n != f.size || sum != f.sha256 {
			t.Errorf("%s has %d bytes and %s, the file had %d and %s", name, n, sum, f.size, f.sha256)
		}
	}
	for name := range objects {
		t.Errorf("there is an object %q that was no file", name)
	}
}

// checkLedger: one completed record for each file, and one event for each record.
func (o *ordeal) checkLedger(t *testing.T) {
	t.Helper()
	var list struct {
		Uploads []struct {
			Number                              int64
			Status, Key, Name, SHA256, UploadID string
			Size                                int64
		}
	}
	out := runIn(t, o.dir, o.environ(), o.bin, "uploads", "list", "--thing", o.thing, "--output", "json")
	check(t, json.Unmarshal([]byte(out), &list))
	o.mu.Lock()
	defer o.mu.Unlock()
	completed := map[string]int{}
	for _, r := range list.Uploads {
		name := r.Name
		if r.Key != "" {
			name = strings.TrimPrefix(r.Key, o.thing+"/")
		}
		f, told := o.files[name], o.notices[name]
		if f == nil || len(told) == 0 {
			t.Errorf("the ledger has %+v, which was no file", r)
			continue
		}
		if r.Status != "completed" {
			t.Errorf("the ledger has a failure beside the success: %+v", r)
			continue
		}
		completed[name]++
		if r.UploadID != told[0].UploadID || r.Size != f.size || r.SHA256 != "" && r.SHA256 != f.sha256 {
			t.Errorf("%s, of %d bytes and %s, told as %s, is in the ledger as %+v", name, f.size, f.sha256, told[0].UploadID, r)
		}
		if numbers := o.events[r.UploadID]; len(numbers) != 1 || !numbers[r.Number] {
			t.Errorf("%s: record %d, events %v", name, r.Number, numbers)
		}
	}
	for name, f := range o.files {
		if n := completed[name]; n != 1 {
			t.Errorf("the ledger has %d records of %s, of %d bytes", n, name, f.size)
		}
	}
}

// checkBytes: no byte was sent twice but those of a request that its connection
// was lost with, which is one part a connection.
func (o *ordeal) checkBytes(t *testing.T) {
	t.Helper()
	var objects, sent, lost int64
	for _, f := range o.files {
		if f.size > upload.DefaultInlineMax {
			objects += f.size
		}
	}
	for name, p := range map[string]*faults.Proxy{"S3": o.api, "MQTT": o.mqtt, "credentials": o.credentials} {
		s := p.Stats()
		t.Logf("%s: %d connections, %d cuts, %d stalls, %d times spoilt", name, s.Connections, s.Cuts, s.Stalls, s.Spoilt)
		if s.Cuts == 0 && p != o.credentials {
			t.Errorf("no connection to %s was ever cut", name)
		}
	}
	for _, n := range o.api.Stats().Up {
		sent += n
		lost += min(n, faultsPart+faultsSlack)
	}
	t.Logf("%d agents and %d servers were killed; %d bytes of objects took %d sent, at most %d might have", o.kills.agent, o.kills.server, objects, sent, objects+objects/50+lost)
	if sent > objects+objects/50+lost {
		t.Errorf("%d bytes were sent for %d bytes of objects; connections that were lost explain %d more", sent, objects, lost)
	}
	said, err := os.ReadFile(o.agentLog())
	check(t, err)
	if !regexp.MustCompile(`resumed at [1-9][0-9]* of [0-9]+ bytes`).Match(said) {
		t.Error("no upload was resumed")
	}
}
