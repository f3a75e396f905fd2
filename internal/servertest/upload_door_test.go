package servertest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/servertest"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

const doorPath = "/_sekisho/uploads/door"

// answerOf is what the door says, whichever way.
type answerOf struct {
	Request, Status, Code, Message, Name, UploadID, Bucket, Key, URL, MultipartID string

	Expires   time.Time
	Headers   map[string]string
	PartSize  int64
	PartCount int
	Stored    []int
	Parts     []struct {
		Number  int
		Size    int64
		URL     string
		Headers map[string]string
	}
}

// doorFleet is a fleet with a door.
func doorFleet(t *testing.T) *servertest.Server {
	t.Helper()
	s := mqttFleet(t)
	must(t, s.Own(http.MethodPut, doorPath, uploads.DoorSetting{RoleAlias: servertest.Alias, Bucket: servertest.Bucket}, nil))
	return s
}

// atDoor is a device that listens to the door.
func atDoor(t *testing.T, d *servertest.Device) *listener {
	t.Helper()
	return listen(t, d, d.Thing, "$sekisho/things/"+d.Thing+"/uploads/accepted", "$sekisho/things/"+d.Thing+"/uploads/rejected")
}

func (l *listener) ask(thing, verb string, in any) answerOf {
	l.t.Helper()
	payload, ok := in.(string)
	if !ok {
		b, err := json.Marshal(in)
		must(l.t, err)
		payload = string(b)
	}
	must(l.t, l.tell("$sekisho/things/"+thing+"/uploads/"+verb, []byte(payload)))
	topic, answer := l.hear()
	var out answerOf
	must(l.t, json.Unmarshal(answer, &out))
	if out.Request != verb || (topic == "$sekisho/things/"+thing+"/uploads/rejected") != (out.Code != "") {
		l.t.Fatalf("%s: %s", topic, answer)
	}
	return out
}

type wish map[string]any

// upload puts bytes to a URL and returns the status.
func upload(t *testing.T, url string, header map[string]string, body []byte) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(body))
	must(t, err)
	for k, v := range header {
		if k != "content-length" { // Go sends the body's
			r.Header.Set(k, v)
		}
	}
	res, err := http.DefaultClient.Do(r)
	must(t, err)
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(said)
}

func objectBytes(t *testing.T, s *servertest.Server, key string) []byte {
	t.Helper()
	o, err := s.S3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key})
	must(t, err)
	defer o.Body.Close()
	b, err := io.ReadAll(o.Body)
	must(t, err)
	return b
}

// A device that has MQTT and a plain HTTP client uploads a file.
func TestUploadDoor(t *testing.T) {
	t.Parallel()
	s := doorFleet(t)
	d := s.Enrol("pump")
	l := atDoor(t, d)
	events := listen(t, s.Enrol("clerk"), "clerk", "$sekisho/events/uploads/completed/#")
	data := []byte("what the camera saw")
	a := l.ask("pump", "request", wish{"name": "a b/ü+*.jpg", "size": len(data), "sha256": hexSum(data), "uploadId": "mine"})
	if a.Key != "pump/a b/ü+*.jpg" || a.Bucket != servertest.Bucket || a.UploadID != "mine" || a.Status != "upload" {
		t.Fatalf("%+v", a)
	}
	if left := time.Until(a.Expires); left < 14*time.Minute || left > 15*time.Minute {
		t.Errorf("the URL lives for %s", left)
	}
	// The URL is for these bytes, this key and this while alone.
	other := []byte("what the camera sow")
	for what, try := range map[string]func() (int, string){
		"other bytes": func() (int, string) { return upload(t, a.URL, a.Headers, other) },
		"other hash too": func() (int, string) {
			return upload(t, a.URL, map[string]string{"x-amz-content-sha256": hexSum(other)}, other)
		},
		"more bytes": func() (int, string) { return upload(t, a.URL, a.Headers, append(slices.Clip(data), '!')) },
		"no hash":    func() (int, string) { return upload(t, a.URL, nil, data) },
		"another key": func() (int, string) {
			return upload(t, strings.Replace(a.URL, "/pump/", "/pump/x", 1), a.Headers, data)
		},
		"another thing's": func() (int, string) {
			return upload(t, strings.Replace(a.URL, "/pump/", "/lamp/", 1), a.Headers, data)
		},
	} {
		if status, said := try(); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", what, status, said)
		}
	}
	if status, said := upload(t, a.URL, a.Headers, data); status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
	if got := objectBytes(t, s, a.Key); !bytes.Equal(got, data) {
		t.Errorf("kept %q", got)
	}
	topic, payload := events.hear()
	var event uploads.Record
	must(t, json.Unmarshal(payload, &event))
	if topic != "$sekisho/events/uploads/completed/pump" || event.Checksum == "" || event.Started.IsZero() || event.Finished.Before(event.Started) || event.Size != int64(len(data)) ||
		string(event.Certificate) != d.CertificateID || event.Thing != "pump" {
		t.Errorf("%s %s", topic, payload)
	}
	for range 2 { // and once more: it adds nothing
		if status, said := upload(t, a.URL, a.Headers, data); status != http.StatusOK {
			t.Errorf("%d %s", status, said)
		}
	}
	for _, r := range ledgerOf(t, s, "pump", 1) {
		if r != event || r.Door != uploads.DoorMQTT || r.Status != uploads.Completed || r.UploadID != "mine" || r.SHA256 != hexSum(data) || r.Key != a.Key {
			t.Errorf("%+v", r)
		}
	}
	// Whose size is not what was said is not taken, whatever its hash.
	for _, size := range []int{1, len(data) - 1, len(data) + 1, uploads.PartSize} {
		lie := l.ask("pump", "request", wish{"name": "lie", "size": size, "sha256": hexSum(data)})
		if status, said := upload(t, lie.URL, lie.Headers, data); status < 400 || status >= 500 {
			t.Errorf("%d bytes that were to be %d: %d %s", len(data), size, status, said)
		}
	}
	// Nothing is also a file.
	a = l.ask("pump", "request", wish{"name": "empty", "size": 0, "sha256": hexSum(nil)})
	if status, said := upload(t, a.URL, a.Headers, nil); status != http.StatusOK {
		t.Errorf("%d %s", status, said)
	}
	a = l.ask("pump", "request", wish{"name": "late", "size": len(data), "sha256": hexSum(data)})
	s.Clock.Move(15*time.Minute + time.Second)
	if status, said := upload(t, a.URL, a.Headers, data); status != http.StatusForbidden {
		t.Errorf("after its time: %d %s", status, said)
	}
}

// A large file goes in parts, and goes on where it was left.
func TestUploadDoorInParts(t *testing.T) {
	t.Parallel()
	s := doorFleet(t)
	d := s.Enrol("pump")
	l := atDoor(t, d)
	data := bytes.Repeat([]byte("0123456789abcdef"), (uploads.PartSize+100)/16+1)
	first, last := data[:uploads.PartSize], data[uploads.PartSize:]
	file := wish{"name": "big.mp4", "size": len(data), "sha256": hexSum(data), "uploadId": "big"}
	file["parts"] = []wish{{"number": 2, "sha256": hexSum(last)}}
	a := l.ask("pump", "request", file)
	if a.MultipartID == "" || a.PartSize != uploads.PartSize || a.PartCount != 2 || len(a.Parts) != 1 || a.Parts[0].Size != int64(len(last)) || a.URL != "" {
		t.Fatalf("%+v", a)
	}
	if status, said := upload(t, a.Parts[0].URL, a.Parts[0].Headers, first); status < 400 {
		t.Errorf("another part's bytes: %d %s", status, said)
	}
	if status, said := upload(t, a.Parts[0].URL, a.Parts[0].Headers, last); status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
	file["multipartId"] = a.MultipartID
	if r := l.ask("pump", "complete", file); r.Code != "Incomplete" {
		t.Errorf("too early: %+v", r)
	}
	file["parts"] = []wish{{"number": 3, "sha256": hexSum(last)}}
	if r := l.ask("pump", "request", file); r.Code != "InvalidRequest" {
		t.Errorf("a part that is none: %+v", r)
	}
	file["parts"] = []wish{{"number": 1, "sha256": hexSum(first)}}
	a = l.ask("pump", "request", file)
	if len(a.Stored) != 1 || a.Stored[0] != 2 {
		t.Errorf("stored is %v", a.Stored)
	}
	if status, said := upload(t, a.Parts[0].URL, a.Parts[0].Headers, first); status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
	for range 2 { // the answer may have been lost
		if r := l.ask("pump", "complete", file); r.Code != "" || r.Status != "completed" {
			t.Fatalf("%+v", r)
		}
	}
	if got := objectBytes(t, s, "pump/big.mp4"); !bytes.Equal(got, data) {
		t.Error("other bytes are kept")
	}
	for _, r := range ledgerOf(t, s, "pump", 1) {
		if r.Door != uploads.DoorMQTT || r.Status != uploads.Completed || r.UploadID != "big" || r.Size != int64(len(data)) {
			t.Errorf("%+v", r)
		}
	}

	delete(file, "multipartId")
	delete(file, "parts")
	file["name"], file["uploadId"] = "other", "other"
	a = l.ask("pump", "request", file)
	if a.MultipartID == "" || len(a.Parts) != 0 {
		t.Errorf("%+v", a)
	}
	if r := l.ask("pump", "abort", wish{"name": "other", "multipartId": a.MultipartID}); r.Status != "aborted" {
		t.Errorf("%+v", r)
	}
	if r := l.ask("pump", "abort", wish{"name": "other", "multipartId": a.MultipartID}); r.Code != "NotFound" {
		t.Errorf("%+v", r)
	}
	if list := ledgerOf(t, s, "pump", 2); list[0].Status != uploads.Failed || list[0].Key != "pump/other" {
		t.Errorf("%+v", list)
	}
}

// What the door does not take.
func TestUploadDoorRefuses(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	d := s.Enrol("pump")
	l := atDoor(t, d)
	good := func() wish { return wish{"name": "n", "size": 1, "sha256": hexSum([]byte("x"))} }
	if r := l.ask("pump", "request", good()); r.Code != "NotConfigured" {
		t.Errorf("no door: %+v", r)
	}
	must(t, s.Own(http.MethodPut, doorPath, uploads.DoorSetting{RoleAlias: servertest.Alias, Bucket: servertest.Bucket}, nil))
	for _, name := range []string{
		"", ".", "..", "../lamp/x", "a/../../lamp/x", "/x", "x/", "a//b", "a/./b", `a\b`, `..\x`, "a\nb", "a\x00b", "a\x7fb", "a\u0085b", "a\u202eb", "a\u2028b", "a\ufeffb",
		strings.Repeat("x", 513),
	} {
		w := good()
		w["name"] = name
		if r := l.ask("pump", "request", w); r.Code != "InvalidRequest" {
			t.Errorf("%q: %+v", name, r)
		}
	}
	for _, payload := range []string{
		"", "x", "[]", `{"name":"a` + "\xff" + `b","size":1}`, `{"name":"\ud800","size":1}`, `{"name":"n"}`, `{"name":"n","size":-1}`, `{"name":"n","size":1.5}`, `{"name":"n","size":1}`,
		`{"name":"n","size":1,"sha256":"` + strings.Repeat("A", 64) + `"}`, `{"name":"n","size":1,"sha256":"` + strings.Repeat("a", 62) + `"}`,
		`{"name":"n","size":1,"sha256":"` + strings.Repeat("a", 64) + `","uploadId":"` + strings.Repeat("x", 129) + `"}`,
		`{"name":"n","size":99999999,"sha256":"` + strings.Repeat("a", 64) + `","parts":[{"number":1,"sha256":"x"}]}`,
	} {
		if r := l.ask("pump", "request", payload); r.Code != "InvalidRequest" {
			t.Errorf("%s: %+v", payload, r)
		}
	}
	w := good()
	w["size"] = int64(5<<40) + 1
	if r := l.ask("pump", "request", w); r.Code != "TooLarge" {
		t.Errorf("%+v", r)
	}
	for _, verb := range []string{"complete", "abort"} {
		if r := l.ask("pump", verb, good()); r.Code != "InvalidRequest" {
			t.Errorf("%s of nothing: %+v", verb, r)
		}
		w := good()
		w["multipartId"] = strings.Repeat("0", 32)
		if r := l.ask("pump", verb, w); r.Code != "NotFound" {
			t.Errorf("%s of what never was: %+v", verb, r)
		}
	}
	// Who says that there is nothing to send sends nothing.
	w = good()
	w["size"] = 0
	if r := l.ask("pump", "request", w); r.Code != "InvalidRequest" {
		t.Errorf("a size of 0 with the hash of something: %+v", r)
	}
	// Uploads in parts are not begun without end.
	w["size"] = uploads.PartSize + 1
	for i := range 101 {
		if r := l.ask("pump", "request", w); (r.Code != "") != (i == 100) || i == 100 && r.Code != "LimitExceeded" {
			t.Fatalf("upload %d: %+v", i, r)
		}
	}
	// The role allows its own prefix alone: a request for parts is judged at once.
	s.NewRole("nothing", servertest.TrustDevices, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
	_, err := s.IoT.UpdateRoleAlias(t.Context(), &iot.UpdateRoleAliasInput{RoleAlias: aws.String(servertest.Alias), RoleArn: aws.String(roleARN + "nothing")})
	must(t, err)
	lamp := atDoor(t, s.Enrol("lamp")) // which has none under way
	if r := lamp.ask("lamp", "request", w); r.Code != "AccessDenied" {
		t.Errorf("%+v", r)
	}
	a := l.ask("pump", "request", good())
	if status, said := upload(t, a.URL, a.Headers, []byte("x")); status != http.StatusForbidden {
		t.Errorf("%d %s", status, said)
	}
	must(t, s.Own(http.MethodDelete, doorPath, nil, nil))
	if r := l.ask("pump", "request", good()); r.Code != "NotConfigured" {
		t.Errorf("a door that was closed: %+v", r)
	}
}

// Security rule 9: a thing's door is its own, whatever its policy allows; and
// nobody but the server tells what was uploaded.
func TestSecurityRule9_UploadDoor(t *testing.T) {
	t.Parallel()
	s := doorFleet(t)
	pumpDevice := s.Enrol("pump")
	pump := atDoor(t, pumpDevice)
	thief := s.Enrol("thief")
	good := fmt.Sprintf(`{"name":"n","size":1,"sha256":%q}`, hexSum([]byte("x")))
	// What is under way of the thing's, the thief may know of.
	a := pump.ask("pump", "request", wish{"name": "big", "size": uploads.PartSize + 1, "sha256": hexSum(nil)})
	stolen := wish{"name": "big", "size": uploads.PartSize + 1, "multipartId": a.MultipartID}
	own := atDoor(t, thief)
	for _, verb := range []string{"complete", "abort"} {
		if r := own.ask("thief", verb, stolen); r.Code != "NotFound" {
			t.Errorf("%s of another's upload: %+v", verb, r)
		}
	}
	stolen["sha256"], stolen["parts"] = hexSum(nil), []wish{{"number": 1, "sha256": hexSum(nil)}}
	if r := own.ask("thief", "request", stolen); r.Code != "NotFound" {
		t.Errorf("a URL of another's upload: %+v", r)
	}
	must(t, own.Close())
	for _, verb := range []string{"request", "complete", "abort", "accepted"} {
		// Nor by a will, or over HTTPS, where nobody is a thing.
		c := &talker{Conn: thief.DialMQTT("x-amzn-mqtt-ca")}
		must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		topic := "$sekisho/things/pump/uploads/" + verb
		must(t, c.send(&mqtt.Connect{Version: mqtt.V311, ClientID: []byte("thief"), CleanStart: true, HasWill: true, Will: mqtt.Will{Topic: []byte(topic), Payload: []byte(good)}}))
		if kind, frame, err := c.next(); err == nil && (kind != mqtt.TypeConnack || frame[3] == 0) {
			t.Errorf("a will on %s: %x", topic, frame)
		}
		for _, d := range []*servertest.Device{thief, pumpDevice} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.DeviceAddr()+"/topics/"+topic+"?qos=1", strings.NewReader(good))
			must(t, err)
			web := &http.Client{Transport: &http.Transport{TLSClientConfig: d.TLS()}}
			res, err := web.Do(r)
			must(t, err)
			must(t, res.Body.Close())
			web.CloseIdleConnections()
			if res.StatusCode != http.StatusForbidden {
				t.Errorf("%s over HTTPS: %s", topic, res.Status)
			}
		}
	}
	for _, topic := range []string{
		"$sekisho/things/pump/uploads/request", "$sekisho/things/pump/uploads/complete", "$sekisho/things/pump/uploads/abort",
		"$sekisho/things/pump/uploads/accepted", "$sekisho/things/pump/uploads/rejected", "$sekisho/things//uploads/request", "$sekisho/things/thief",
		"$sekisho/events/uploads/completed/thief", "$sekisho/other",
	} {
		l := listen(t, thief, "thief")
		if err := l.tell(topic, []byte(good)); err == nil {
			t.Errorf("a message to %s was acknowledged", topic)
		}
	}
	for _, filter := range []string{
		"$sekisho/things/pump/uploads/accepted", "$sekisho/things/+/uploads/accepted", "$sekisho/things/#", "$sekisho/#", "$share/g/$sekisho/things/pump/#",
	} {
		c := &talker{Conn: thief.DialMQTT("x-amzn-mqtt-ca")}
		must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		must(t, c.connect("thief"))
		must(t, c.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: []byte(filter)}, Options: 1}}}))
		if kind, frame, err := c.next(); err == nil && (kind != mqtt.TypeSuback || frame[4] != 0x80) {
			t.Errorf("%s: %x", filter, frame)
		}
	}
	// A connection that is no thing's has no door, whatever it calls itself.
	nobody := listen(t, thief, "pump-2")
	if err := nobody.tell("$sekisho/things/thief/uploads/request", []byte(good)); err == nil {
		t.Error("a connection without a thing has the thing's door")
	}
	if r := pump.ask("pump", "request", good); r.Code != "" {
		t.Errorf("its own: %+v", r)
	}
	if len(pump.heard) != 0 {
		t.Errorf("more was heard: %+v", pump.heard)
	}
}

// The certificate, its policy and its attachment count as they do with the
// credential provider, for what was handed out too.
func TestUploadDoorRevocation(t *testing.T) {
	t.Parallel()
	data := []byte("x")
	for what, revoke := range map[string]func(*servertest.Server, *servertest.Device) error{
		"certificate": func(s *servertest.Server, d *servertest.Device) error {
			_, err := s.IoT.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &d.CertificateID, NewStatus: iottypes.CertificateStatusInactive})
			return err
		},
		"attachment": func(s *servertest.Server, d *servertest.Device) error {
			_, err := s.IoT.DetachThingPrincipal(t.Context(), &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			return err
		},
	} {
		s := doorFleet(t)
		d := s.Enrol("pump")
		l := atDoor(t, d)
		a := l.ask("pump", "request", wish{"name": "n", "size": 1, "sha256": hexSum(data)})
		must(t, revoke(s, d))
		if status, said := upload(t, a.URL, a.Headers, data); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, status, said)
		}
	}
	s := doorFleet(t)
	l := atDoor(t, s.Enrol("pump"))
	_, err := s.IoT.CreatePolicyVersion(t.Context(), &iot.CreatePolicyVersionInput{
		PolicyName: aws.String(servertest.Policy), SetAsDefault: true,
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},{"Effect":"Deny","Action":"iot:AssumeRoleWithCertificate","Resource":"*"}]}`),
	})
	must(t, err)
	if r := l.ask("pump", "request", wish{"name": "n", "size": 1, "sha256": hexSum(data)}); r.Code != "AccessDenied" || r.Message != "Access Denied" {
		t.Errorf("%+v", r)
	}
}

// Security rule 8: the role behind the alias is handed over by those who may pass it.
func TestSecurityRule8_UploadDoor(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	set := func(document string) error {
		t.Helper()
		name := fmt.Sprintf("user-%d", len(document))
		return s.OwnAs(s.NewUser(name, document), http.MethodPut, doorPath, uploads.DoorSetting{RoleAlias: servertest.Alias, Bucket: servertest.Bucket}, nil)
	}
	statement := func(more string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sekisho:SetUploadDoor","Resource":"*"}` + more + `]}`
	}
	for _, document := range []string{
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:PassRole","Resource":"*"}]}`,
		statement(""),
		statement(`,{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + roleARN + `other"}`),
		statement(`,{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"lambda.amazonaws.com"}}}`),
	} {
		if err := set(document); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", document, err)
		}
	}
	if err := s.Own(http.MethodGet, doorPath, nil, nil); err == nil || !strings.Contains(err.Error(), "ResourceNotFound") {
		t.Errorf("there is a door: %v", err)
	}
	must(t, set(statement(`,{"Effect":"Allow","Action":"iam:PassRole","Resource":"`+roleARN+servertest.Role+`","Condition":{"StringEquals":{"iam:PassedToService":"credentials.iot.amazonaws.com"}}}`)))
	var d uploads.DoorSetting
	must(t, s.Own(http.MethodGet, doorPath, nil, &d))
	if d.Bucket != servertest.Bucket || d.RoleAlias != servertest.Alias {
		t.Errorf("%+v", d)
	}
	for _, bad := range []uploads.DoorSetting{{}, {RoleAlias: "none", Bucket: servertest.Bucket}, {RoleAlias: servertest.Alias, Bucket: "none"}} {
		if err := s.Own(http.MethodPut, doorPath, bad, nil); err == nil {
			t.Errorf("%+v was set", bad)
		}
	}
}
