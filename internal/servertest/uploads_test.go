package servertest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// ledgerPage asks for the ledger.
func ledgerPage(t *testing.T, s *servertest.Server, query string) (list []uploads.Record, next string) {
	t.Helper()
	var page struct {
		Uploads   []uploads.Record
		NextToken string
	}
	must(t, s.Own(http.MethodGet, "/_sekisho/uploads?"+query, nil, &page))
	return page.Uploads, page.NextToken
}

// ledgerOf waits until the ledger has n records of a thing.
func ledgerOf(t *testing.T, s *servertest.Server, thing string, n int) []uploads.Record {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, _ := ledgerPage(t, s, "thing="+thing)
		if len(list) == n {
			return list
		}
		if time.Now().After(deadline) {
			t.Fatalf("the ledger has %+v, not %d", list, n)
		}
	}
}

// listener is a talker that hears the events of the fleet and the messages of its own.
type listener struct {
	*talker
	t       *testing.T
	decoder mqtt.Decoder
	id      uint16
	acked   []uint16
	heard   []mqtt.Publish
}

func listen(t *testing.T, d *servertest.Device, id string, filters ...string) *listener {
	t.Helper()
	conn := d.DialMQTT("x-amzn-mqtt-ca")
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	l := &listener{talker: &talker{Conn: conn}, t: t, decoder: mqtt.Decoder{Version: mqtt.V311, From: mqtt.Server}}
	must(t, l.connect(id))
	for i, f := range filters {
		must(t, l.send(&mqtt.Subscribe{ID: 1000 + uint16(i), Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: []byte(f)}, Options: 1}}}))
		kind, frame, err := l.next()
		if err != nil || kind != mqtt.TypeSuback || frame[4] != 1 {
			t.Fatalf("%s: %x, %v", f, frame, err)
		}
	}
	return l
}

// read takes one packet.
func (l *listener) read() error {
	kind, frame, err := l.next()
	if err != nil {
		return err
	}
	switch kind { //nolint:exhaustive // the rest is not expected
	case mqtt.TypePuback:
		l.acked = append(l.acked, uint16(frame[2])<<8|uint16(frame[3]))
	case mqtt.TypePublish:
		var p mqtt.Publish
		if err := p.Decode(&l.decoder, bytes.Clone(frame)); err != nil {
			return err
		}
		l.heard = append(l.heard, p)
		if p.QoS > 0 {
			return l.send(&mqtt.Ack{Type: mqtt.TypePuback, ID: p.ID})
		}
	default:
		return fmt.Errorf("packet of type %v", kind)
	}
	return nil
}

// hear waits for the next message.
func (l *listener) hear() (topic string, payload []byte) {
	l.t.Helper()
	for len(l.heard) == 0 {
		must(l.t, l.read())
	}
	p := l.heard[0]
	l.heard = l.heard[1:]
	return string(p.Topic), p.Payload
}

// tell publishes with QoS 1 and waits for its acknowledgement.
func (l *listener) tell(topic string, payload []byte) error {
	l.id++
	if err := l.send(&mqtt.Publish{QoS: 1, ID: l.id, Topic: []byte(topic), Payload: payload}); err != nil {
		return err
	}
	for !slices.Contains(l.acked, l.id) {
		if err := l.read(); err != nil {
			return err
		}
	}
	return nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// What devices upload is in the ledger, with events, by every door.
func TestUploadsLedger(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	d := s.Enrol("pump")
	hears := listen(t, s.Enrol("clerk"), "clerk", "$sekisho/events/uploads/#")
	c := s.S3As(d.Session())
	data := bytes.Repeat([]byte("x"), 70_000)
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(servertest.Bucket), Key: aws.String("pump/whole"), Body: bytes.NewReader(data),
		Metadata: map[string]string{"sekisho-upload-id": "id-1"},
	}, s3.WithAPIOptions(awsv4.AddComputePayloadSHA256Middleware))
	must(t, err)
	must(t, put(t, s.S3, "pump/by-the-administrator"))
	made, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
		Bucket: aws.String(servertest.Bucket), Key: aws.String("pump/parts"), Metadata: map[string]string{"sekisho-upload-id": "id-2"},
	})
	must(t, err)
	part, err := c.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: made.Bucket, Key: made.Key, UploadId: made.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(data),
	})
	must(t, err)
	_, err = c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: made.Bucket, Key: made.Key, UploadId: made.UploadId,
		MultipartUpload: &s3types.CompletedMultipartUpload{Parts: []s3types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}}},
	})
	must(t, err)
	_, err = c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(servertest.Bucket), Key: aws.String("pump/damaged"), Body: strings.NewReader("x"), ContentMD5: aws.String("AAAAAAAAAAAAAAAAAAAAAA=="),
	})
	wantCode(t, err, "BadDigest")

	l := listen(t, d, "pump")
	inline := func(name, content, sum string) []byte {
		b, err := json.Marshal(map[string]any{
			"type": "file_content", "name": name, "content": base64.StdEncoding.EncodeToString([]byte(content)), "sha256": sum, "uploadId": name,
		})
		must(t, err)
		return b
	}
	must(t, l.tell("file/upload", inline("inline", "hello", hexSum([]byte("hello")))))
	must(t, l.tell("file/upload", inline("inline", "hello", hexSum([]byte("hello"))))) // as after a lost acknowledgement
	must(t, l.tell("file/upload", inline("forged", "hello", hexSum([]byte("jello")))))
	must(t, l.tell("file/upload", []byte(`{"type":"s3_url","url":"https://x/file_content"}`)))
	must(t, l.tell("file/elsewhere", inline("elsewhere", "hello", "")))

	// The acknowledgement came when the record was kept.
	list, _ := ledgerPage(t, s, "thing=pump")
	if len(list) != 5 {
		t.Fatalf("the ledger has %+v", list)
	}
	wants := map[string]uploads.Record{
		"pump/whole":   {Door: "s3", Status: "completed", Bucket: servertest.Bucket, Size: 70_000, SHA256: hexSum(data), UploadID: "id-1"},
		"pump/parts":   {Door: "s3", Status: "completed", Bucket: servertest.Bucket, Size: 70_000, UploadID: "id-2"},
		"pump/damaged": {Door: "s3", Status: "failed", Bucket: servertest.Bucket, Size: 1, Reason: "The Content-MD5 you specified did not match what we received."},
		"inline":       {Door: "inline", Status: "completed", Topic: "file/upload", Size: 5, SHA256: hexSum([]byte("hello")), UploadID: "inline"},
		"forged":       {Door: "inline", Status: "failed", Topic: "file/upload", Size: 5, SHA256: hexSum([]byte("hello")), UploadID: "forged", Reason: "the content has not the SHA-256 that the message says"},
	}
	events := map[string]uploads.Record{}
	for range list {
		topic, payload := hears.hear()
		var r uploads.Record
		must(t, json.Unmarshal(payload, &r))
		if topic != "$sekisho/events/uploads/"+string(r.Status)+"/pump" {
			t.Errorf("event on %s: %s", topic, payload)
		}
		events[r.Key+r.Name] = r
	}
	for _, r := range list {
		name := r.Key + r.Name
		if e := events[name]; e != r {
			t.Errorf("the event is %+v, the record %+v", e, r)
		}
		if r.Thing != "pump" || string(r.Certificate) != d.CertificateID || r.Number == 0 || r.Finished.Before(r.Started) || r.Started.IsZero() {
			t.Errorf("%+v", r)
		}
		if r.Bucket != "" && r.Status == uploads.Completed && r.Checksum == "" {
			t.Errorf("no checksum: %+v", r)
		}
		want := wants[name]
		want.Thing, want.Certificate, want.Number, want.Started, want.Finished, want.Key, want.Name = r.Thing, r.Certificate, r.Number, r.Started, r.Finished, r.Key, r.Name
		if want.Checksum = r.Checksum; r != want {
			t.Errorf("got  %+v\nwant %+v", r, want)
		}
	}

	// HTTPS publish has no client ID, and so no thing.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.DeviceAddr()+"/topics/file/upload?qos=1", bytes.NewReader(inline("by https", "hello", "")))
	must(t, err)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: d.TLS()}}
	t.Cleanup(web.CloseIdleConnections)
	res, err := web.Do(r)
	must(t, err)
	_ = res.Body.Close()
	if all, _ := ledgerPage(t, s, ""); res.StatusCode != http.StatusOK || len(all) != 6 {
		t.Errorf("%s, and the ledger has %+v", res.Status, all)
	}
	topic, payload := hears.hear()
	var last uploads.Record
	must(t, json.Unmarshal(payload, &last))
	if topic != "$sekisho/events/uploads/completed/-" || last.Name != "by https" || string(last.Certificate) != d.CertificateID || last.Door != uploads.DoorInline {
		t.Errorf("%s %+v", topic, last)
	}

	// It lists by pages and conditions, and to those alone who may.
	first, next := ledgerPage(t, s, "thing=pump&limit=2")
	second, _ := ledgerPage(t, s, "thing=pump&limit=9&token="+next)
	if len(first) != 2 || len(second) != 3 || first[1].Number <= second[0].Number {
		t.Errorf("pages of %d and %d", len(first), len(second))
	}
	if failed, _ := ledgerPage(t, s, "status=failed"); len(failed) != 2 {
		t.Errorf("failed: %+v", failed)
	}
	if late, _ := ledgerPage(t, s, "since="+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)); len(late) != 0 {
		t.Errorf("of the future: %+v", late)
	}
	for _, q := range []string{"status=lost", "since=yesterday", "limit=1001", "limit=-1", "token=x", "token=-1", "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"} {
		if err := s.Own(http.MethodGet, "/_sekisho/uploads?"+q, nil, nil); err == nil || !strings.Contains(err.Error(), "InvalidRequestException") {
			t.Errorf("%s: %v", q, err)
		}
	}
	if err := s.OwnAs(d.Session(), http.MethodGet, "/_sekisho/uploads", nil, nil); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("a device lists: %v", err)
	}

	// It outlives the server.
	s.Restart(func() {})
	if again, _ := ledgerPage(t, s, "thing=pump"); len(again) != len(list) || again[0] != list[0] {
		t.Errorf("after a restart: %+v", again)
	}
}

// What a device says of a failure is in the ledger once, with its event, as the
// connection's thing, and undoes nothing.
func TestUploadsThatFailed(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	d := s.Enrol("pump")
	hears := listen(t, s.Enrol("clerk"), "clerk", "$sekisho/events/uploads/#")
	l := listen(t, d, "pump")
	failed := func(id, reason string) []byte {
		b, err := json.Marshal(map[string]any{"type": "upload_failed", "name": "f.bin", "size": 70_000, "thing": "lamp", "uploadId": id, "reason": reason})
		must(t, err)
		return b
	}
	wants := func(status, id, reason string, door uploads.Door) {
		t.Helper()
		topic, payload := hears.hear()
		var r uploads.Record
		must(t, json.Unmarshal(payload, &r))
		if topic != "$sekisho/events/uploads/"+status+"/pump" || r.Thing != "pump" || string(r.Status) != status || r.UploadID != id || r.Reason != reason || r.Door != door {
			t.Errorf("%s %s", topic, payload)
		}
		if status == "failed" && (r.Name != "f.bin" || r.Topic != "file/upload/failed" || r.Size != 70_000 || string(r.Certificate) != d.CertificateID) {
			t.Errorf("%+v", r)
		}
		if kept, _ := ledgerPage(t, s, "thing=pump&limit=1"); len(kept) != 1 || kept[0] != r {
			t.Errorf("kept is %+v, told was %+v", kept, r)
		}
	}
	for range 2 {
		must(t, l.tell("file/upload/failed", failed("a", "no network")))
	}
	wants("failed", "a", "no network", uploads.DoorDevice)
	must(t, l.tell("file/upload", failed("b", "told elsewhere")))
	must(t, l.tell("file/upload/failed", []byte(`{"type":"file_content","name":"x","content":"aGVsbG8=","uploadId":"c"}`)))
	must(t, l.tell("file/upload", []byte(`{"type":"file_content","name":"f.bin","content":"aGVsbG8=","uploadId":"a"}`)))
	wants("completed", "a", "", uploads.DoorInline)
	must(t, l.tell("file/upload/failed", failed("a", "no network")))
	must(t, l.tell("file/upload/failed", failed("d", strings.Repeat("x", 9999))))
	wants("failed", "d", strings.Repeat("x", 512), uploads.DoorDevice)
	if list, _ := ledgerPage(t, s, "thing=pump"); len(list) != 2 {
		t.Errorf("kept are %+v", list)
	}
}

// Settings that cannot be meant are refused.
func TestUploadsSettings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*server.Options){
		"keep":  func(o *server.Options) { o.UploadsKeep = -1 },
		"max":   func(o *server.Options) { o.UploadsMax = -1 },
		"each":  func(o *server.Options) { o.UploadsPerThing = -1 },
		"fails": func(o *server.Options) { o.UploadFailedTopics = []string{"a/b#"} },
		"topic": func(o *server.Options) { o.UploadTopics = []string{"a/#/b"} },
	} {
		o := server.DefaultOptions()
		change(&o)
		if err := o.Validate(); !server.IsUsage(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
