package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/broker"
	core "github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// messages is a broker that notes what it is asked.
type messages struct {
	mu    sync.Mutex // guards notes
	notes []string
	kept  []broker.Retained // by topic
}

func (m *messages) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

// take returns the notes since the last time.
func (m *messages) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := strings.Join(m.notes, "\n")
	m.notes = nil
	return s
}

func (m *messages) Publish(_ context.Context, msg *broker.Message) error {
	switch {
	case strings.ContainsAny(msg.Topic, "+#"):
		return core.Errorf(core.KindInvalid, "topic", "Topic is invalid.")
	case strings.HasPrefix(msg.Topic, "$sekisho/"):
		return core.Errorf(core.KindDenied, "topic", "only its own thing")
	case msg.Topic == "broken":
		return errors.New("the disk is on fire")
	case msg.Topic == "busy":
		return core.Errorf(core.KindBusy, "", "Too much is under way.")
	}
	payload := string(msg.Payload)
	if len(payload) > 100 {
		payload = fmt.Sprint(len(payload), " bytes")
	}
	var properties []string
	for p := range msg.Properties.All() {
		properties = append(properties, strings.TrimSpace(fmt.Sprintf("%v %d %s %s", p.ID, p.Number, p.Name, p.Value)))
	}
	m.note("%s %q %d %v %s", msg.Topic, payload, msg.QoS, msg.Retain, strings.Join(properties, ";"))
	return nil
}

func (m *messages) Retained(topic string) (broker.Retained, error) {
	for _, r := range m.kept {
		if r.Topic == topic {
			return r, nil
		}
	}
	return broker.Retained{}, core.Errorf(core.KindNotFound, "topic", "No message is retained.")
}

func (m *messages) ListRetained(after string, limit int) []broker.Retained {
	i, _ := slices.BinarySearchFunc(m.kept, after, func(r broker.Retained, t string) int { return strings.Compare(r.Topic, t) })
	if i < len(m.kept) && m.kept[i].Topic == after {
		i++
	}
	return m.kept[i:min(i+limit, len(m.kept))]
}

func (m *messages) Disconnect(_ context.Context, id string, clean, silent bool) error {
	if id == "away" {
		return core.Errorf(core.KindNotFound, "client", "The client is not connected.")
	}
	m.note("disconnect %s %v %v", id, clean, silent)
	return nil
}

type dataServer struct {
	*messages
	srv *httptest.Server
	log bytes.Buffer
}

func newDataServer(t *testing.T) *dataServer {
	t.Helper()
	d := &dataServer{messages: &messages{}}
	p, err := policy.Compile(policy.Identity, "narrow", []byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iot:Publish","iot:GetRetainedMessage"],"Resource":"`+iotARN+`topic/own/*"},
		{"Effect":"Allow","Action":"iot:RetainPublish","Resource":"`+iotARN+`topic/own/kept"},
		{"Effect":"Allow","Action":"iot:DeleteConnection","Resource":"`+iotARN+`client/own"}]}`))
	noError(t, err)
	h, err := api.New(api.Options{
		Services:      []api.Service{api.IoTData(d.messages)},
		Authenticator: callers{"root": {Root: true}, "narrow": {Identity: policy.Set{p}}},
		Account:       iotAccount, Region: "us-east-1",
		Logger: slog.New(slog.NewTextHandler(&d.log, nil)), Now: time.Now, Rand: rand.Reader,
	})
	noError(t, err)
	d.srv = httptest.NewServer(h)
	t.Cleanup(d.srv.Close)
	return d
}

// call signs and sends a request.
func (d *dataServer) call(t *testing.T, user, service, method, target string, header http.Header, body string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.srv.URL+target, strings.NewReader(body))
	noError(t, err)
	maps.Copy(r.Header, header)
	if user != "" {
		noError(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: user, SecretAccessKey: "secret-of-" + user}, r, awsapi.HashOf([]byte(body)), service, "us-east-1", time.Now()))
	}
	res, err := d.srv.Client().Do(r)
	noError(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	noError(t, err)
	return res.StatusCode, res.Header, string(answer)
}

func jsonHeader(text string) http.Header {
	return http.Header{"X-Amz-Mqtt5-User-Properties": {base64.StdEncoding.EncodeToString([]byte(text))}}
}

func TestIoTDataPublish(t *testing.T) {
	t.Parallel()
	d := newDataServer(t)
	props := jsonHeader(`[{"a":"1"},{"b":"2"},{"a":"3"}]`)
	props.Set("X-Amz-Mqtt5-Payload-Format-Indicator", "UTF8_DATA")
	props.Set("X-Amz-Mqtt5-Correlation-Data", "eHg=")
	for _, c := range []struct {
		what, user, target string
		header             http.Header
		body               string
		status             int
		want               string // what the broker is asked, or the error's code
	}{
		{"as botocore sends it", "root", "/topics/sensor%2Fx%20y?qos=1", nil, "hi", 200, `sensor/x y "hi" 1 false `},
		{"slashes as they are", "root", "/topics/sensor/x", nil, "hi", 200, `sensor/x "hi" 0 false `},
		{"slash at the end", "root", "/topics/sensor/", nil, "", 200, `sensor/ "" 0 false `},
		{"slashes at both ends", "root", "/topics/%2Fa%2F", nil, "", 200, `/a/ "" 0 false `},
		{
			"everything", "root", "/topics/t?qos=1&retain=true&contentType=t%2Fp&responseTopic=r%2Fs&messageExpiry=5", props, "x", 200,
			`t "x" 1 true Payload Format Indicator 1;Message Expiry Interval 5;Content Type 0  t/p;Response Topic 0  r/s;Correlation Data 0  xx;User Property 0 a 1;User Property 0 b 2;User Property 0 a 3`,
		},
		{"properties in a string, as botocore makes it", "root", "/topics/t", jsonHeader(`"[{\"a\":\"1\"}]"`), "", 200, `t "" 0 false User Property 0 a 1`},
		{"endless expiry", "root", "/topics/t?messageExpiry=9999999999", nil, "", 200, `t "" 0 false Message Expiry Interval 4294967295`},
		{"the largest payload", "root", "/topics/t", nil, strings.Repeat("x", 128<<10), 200, `t "131072 bytes" 0 false `},
		{"too large a payload", "root", "/topics/t", nil, strings.Repeat("x", 128<<10+1), 413, "RequestEntityTooLargeException"},
		{"far too large a payload", "root", "/topics/t", nil, strings.Repeat("x", 1<<20+1), 413, "RequestEntityTooLargeException"},
		{"QoS 2", "root", "/topics/t?qos=2", nil, "", 400, "InvalidRequestException"},
		{"no QoS", "root", "/topics/t?qos=x", nil, "", 400, "InvalidRequestException"},
		{"negative expiry", "root", "/topics/t?messageExpiry=-1", nil, "", 400, "InvalidRequestException"},
		{"response topic with a wildcard", "root", "/topics/t?responseTopic=a%2F%23", nil, "", 400, "InvalidRequestException"},
		{"properties that are no list", "root", "/topics/t", jsonHeader(`{"a":"1"}`), "", 400, "InvalidRequestException"},
		{"properties of two entries", "root", "/topics/t", jsonHeader(`[{"a":"1","b":"2"}]`), "", 400, "InvalidRequestException"},
		{"properties that are numbers", "root", "/topics/t", jsonHeader(`[{"a":1}]`), "", 400, "InvalidRequestException"},
		{"properties that are no base64", "root", "/topics/t", http.Header{"X-Amz-Mqtt5-User-Properties": {"["}}, "", 400, "InvalidRequestException"},
		{"correlation data that is no base64", "root", "/topics/t", http.Header{"X-Amz-Mqtt5-Correlation-Data": {"!"}}, "", 400, "InvalidRequestException"},
		{"unknown format", "root", "/topics/t", http.Header{"X-Amz-Mqtt5-Payload-Format-Indicator": {"1"}}, "", 400, "InvalidRequestException"},
		{"wildcard", "root", "/topics/a%2F%23", nil, "", 400, "InvalidRequestException"},
		{"a topic of ours", "root", "/topics/$sekisho/x", nil, "", 403, "ForbiddenException"},
		{"a failure", "root", "/topics/broken", nil, "", 500, "InternalFailureException"},
		{"overload", "root", "/topics/busy", nil, "", 503, "ServiceUnavailableException"},
		{"allowed", "narrow", "/topics/own%2Fx", nil, "", 200, `own/x "" 0 false `},
		{"not allowed", "narrow", "/topics/other", nil, "", 403, "ForbiddenException"},
		{"dots do not climb", "narrow", "/topics/own/../other", nil, "", 404, "UnknownOperationException"},
		{"to retain is another permission", "narrow", "/topics/own%2Fx?retain=true", nil, "", 403, "ForbiddenException"},
		{"which may be had", "narrow", "/topics/own/kept?retain=true", nil, "", 200, `own/kept "" 0 true `},
		{"unsigned", "", "/topics/t", nil, "", 501, ""}, // a request to S3, which is not built here
	} {
		for _, service := range []string{"iotdata", "iotdevicegateway"} {
			status, header, body := d.call(t, c.user, service, http.MethodPost, c.target, c.header, c.body)
			got := d.take()
			if status != http.StatusOK {
				got += header.Get("X-Amzn-Errortype")
			}
			if status != c.status || got != c.want && c.user != "" {
				t.Errorf("%s: %d, %q %s", c.what, status, got, body)
				continue
			}
			var answer struct{ Message, TraceID string }
			if err := json.Unmarshal([]byte(body), &answer); c.user != "" && (err != nil || answer.TraceID != header.Get("X-Amzn-Requestid") || len(answer.TraceID) != 36) {
				t.Errorf("%s: answered %s with %v", c.what, body, header)
			}
			switch {
			case c.status == 200 && answer.Message != "OK", c.status == 403 && c.user != "" && answer.Message != "Forbidden":
				t.Errorf("%s: answered %s", c.what, body)
			}
		}
	}
	if log := d.log.String(); !strings.Contains(log, "action=iot:RetainPublish") || !strings.Contains(log, "topic/other") {
		t.Error("the denials are not in the log: " + log)
	}
}

func TestIoTDataRetained(t *testing.T) {
	t.Parallel()
	d := newDataServer(t)
	user, err := mqtt.Properties{}.Add(mqtt.Property{ID: mqtt.ContentType, Value: []byte("x")}, mqtt.Property{ID: mqtt.UserProperty, Name: []byte("a"), Value: []byte("<1>")}, mqtt.Property{ID: mqtt.UserProperty, Name: []byte("a"), Value: []byte("2")})
	noError(t, err)
	at := time.UnixMilli(1_700_000_000_123)
	long := strings.Repeat("long", 10_000)
	d.kept = []broker.Retained{
		{Topic: "a/1", Payload: []byte("one"), QoS: 1, Properties: user, Modified: at},
		{Topic: long, Payload: []byte("1234"), Modified: at},
		{Topic: "own/x", Modified: at},
	}
	get := func(user, target string, status int) string {
		t.Helper()
		got, _, body := d.call(t, user, "iotdata", http.MethodGet, target, nil, "")
		if got != status {
			t.Errorf("%s answered %d %.300s", target, got, body)
		}
		return body
	}
	for _, target := range []string{"/retainedMessage/a%2F1", "/retainedMessage/a/1"} {
		var m struct {
			Topic                   string
			Payload, UserProperties []byte
			QoS                     int
			LastModifiedTime        int64
		}
		noError(t, json.Unmarshal([]byte(get("root", target, 200)), &m))
		var list []map[string]string
		noError(t, json.Unmarshal(m.UserProperties, &list))
		if m.Topic != "a/1" || string(m.Payload) != "one" || m.QoS != 1 || m.LastModifiedTime != at.UnixMilli() || fmt.Sprint(list) != "[map[a:<1>] map[a:2]]" {
			t.Errorf("%+v %s", m, m.UserProperties)
		}
	}
	if body := get("narrow", "/retainedMessage/own%2Fx", 200); strings.Contains(body, "userProperties") {
		t.Error(body)
	}
	if body := get("root", "/retainedMessage/none", 404); !strings.Contains(body, "traceId") {
		t.Error(body)
	}
	get("narrow", "/retainedMessage/a%2F1", 403)
	get("narrow", "/retainedMessage", 403)
	get("root", "/retainedMessage?maxResults=0", 400)
	get("root", "/retainedMessage?maxResults=201", 400)
	get("root", "/retainedMessage?nextToken=abcd", 400)

	var topics []string
	next := ""
	for range 3 {
		var page struct {
			RetainedTopics []struct {
				Topic       string
				PayloadSize int
			}
			NextToken *string
		}
		noError(t, json.Unmarshal([]byte(get("root", "/retainedMessage?maxResults=1"+next, 200)), &page))
		for _, r := range page.RetainedTopics {
			topics = append(topics, fmt.Sprint(len(r.Topic), " ", r.PayloadSize))
		}
		if page.NextToken == nil {
			break
		}
		next = "&nextToken=" + strings.ReplaceAll(*page.NextToken, "+", "%2B")
	}
	if got := strings.Join(topics, ";"); got != "3 3;40000 4;5 0" {
		t.Errorf("listed %s", got)
	}
	if body := get("root", "/retainedMessage", 200); strings.Contains(body, "nextToken") || strings.Count(body, "payloadSize") != 3 {
		t.Errorf("%.300s", body)
	}
}

func TestIoTDataDeleteConnection(t *testing.T) {
	t.Parallel()
	d := newDataServer(t)
	for _, c := range []struct {
		user, target string
		status       int
		want         string
	}{
		{"root", "/connections/a%2Fb?cleanSession=true&preventWillMessage=true", 200, "disconnect a/b true true"},
		{"narrow", "/connections/own", 200, "disconnect own false false"},
		{"narrow", "/connections/other", 403, ""},
		{"root", "/connections/away", 404, ""},
		{"root", "/connections/$x", 400, ""},
	} {
		status, _, body := d.call(t, c.user, "iotdevicegateway", http.MethodDelete, c.target, nil, "")
		if got := d.take(); status != c.status || got != c.want {
			t.Errorf("%s: %d %q %s", c.target, status, got, body)
		}
	}
	if status, header, _ := d.call(t, "root", "iotdata", http.MethodPut, "/topics/t", nil, ""); status != 405 || header.Get("X-Amzn-Errortype") != "MethodNotAllowedException" {
		t.Errorf("another method: %d %v", status, header)
	}
	if status, _, body := d.call(t, "root", "iotdata", http.MethodGet, "/things/t/shadow", nil, ""); status != 501 || !strings.Contains(body, "GetThingShadow") {
		t.Errorf("not built: %d %s", status, body)
	}
}

// Whatever a client sends, what reaches the broker are properties that a PUBLISH may carry.
func FuzzPublishProperties(f *testing.F) {
	f.Add(`[{"a":"1"},{"b":"2"}]`, "eHg=", "r/s", "UTF8_DATA", int64(5))
	f.Add(`"[{\"a\":\"1\"}]"`, "", "#", "", int64(-1))
	f.Add(`[{"":"\u0000"}]`, "!", "", "1", int64(1)<<40)
	m := &messages{}
	e := api.NewPublishEndpoint(api.PublishOptions{
		Access: everybody{}, Messages: m, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
	})
	f.Fuzz(func(t *testing.T, user, correlation, response, format string, expiry int64) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/topics/t?"+url.Values{
			"responseTopic": {response}, "messageExpiry": {strconv.FormatInt(expiry, 10)},
		}.Encode(), strings.NewReader("x"))
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("x")}}}
		r.Header = jsonHeader(user)
		r.Header.Set("X-Amz-Mqtt5-Correlation-Data", correlation)
		r.Header.Set("X-Amz-Mqtt5-Payload-Format-Indicator", format)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if got := m.take(); (got != "") != (w.Code == http.StatusOK) {
			t.Fatalf("%d, yet the broker was asked %q", w.Code, got)
		}
	})
}

// everybody may do everything.
type everybody struct{}

func (everybody) Principal(context.Context, *broker.Peer, string) (broker.Principal, error) {
	return rights{&access{allowed: []string{""}}}, nil
}
