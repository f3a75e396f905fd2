//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestDocument004 registers a thing by the document's script, then publishes
// and subscribes with every client library. The document's policy grants no
// iot:Receive: its subscriber hears nothing, and the operator can find out why.
func TestDocument004(t *testing.T) {
	t.Parallel()
	need(t, "aws", "jq", "python3", "node")
	dir := t.TempDir()
	d := &device{s: shared, thing: unique("raspi"), dir: dir}
	check(t, os.WriteFile(filepath.Join(dir, "iot_prov_config"), []byte("THING_NAME="+d.thing+"\nAWS_AccountId=000000000000\n"), 0o600))
	out := runIn(t, dir, shared.environ(), testdata(t, "document004.sh"))
	if !strings.Contains(out, `"thingName": "`+d.thing+`"`) || !strings.Contains(out, `"policyName": "`+d.thing+`_subscribe"`) {
		t.Errorf("the script prints %s", out)
	}
	var created struct {
		CertificateID string `json:"certificateId"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "create-keys-and-certificate.json"))
	check(t, err)
	check(t, json.Unmarshal(b, &created))
	d.certID = created.CertificateID
	check(t, os.Rename(filepath.Join(dir, d.thing+"-certificate.pem.crt"), d.certFile()))
	check(t, os.Rename(filepath.Join(dir, d.thing+"-private.pem.key"), d.keyFile()))

	w := shared.device(t)
	w.grant(t, everything())
	c := &scene{device: d, elsewhere: "nowhere", witness: w.open(t, session{id: unique("witness")})}
	check(t, second(c.witness.subscribe(1, d.thing+"/#")))
	for _, p := range programs(t) {
		port := "mqtt"
		if p.always {
			port = "device_https"
		}
		for _, version := range p.versions {
			time.Sleep(1100 * time.Millisecond) // one CONNECT a second by one client ID
			t.Run(p.name+" v"+version, func(t *testing.T) {
				env := append(c.environ(t, port, version), "MQTT_DEAF=1")
				out, stderr, err := try(t, testdata(t, "clients"), append(env, p.env...), p.command[0], p.command[1:]...)
				if got := said(out); err != nil || !slices.Equal(got, []string{"connected", "subscribed", "published", "received nothing"}) {
					t.Fatalf("%v, the client says %q\n%s%s", err, got, out, stderr)
				}
				c.heard(t, "count")
			})
		}
	}
	d.denied(t, "iot:Receive", "topic/"+d.thing+"/count")
	why := d.wantExplained(t, "iot:Receive", "topic/"+d.thing+"/count")
	if !strings.Contains(why, "no statement of any AWS IoT policy allows iot:Receive") {
		t.Errorf("explain says %s", why)
	}
}

// namespaced is set in a process that has the network to itself.
const namespaced = "SEKISHO_E2E_NAMESPACE"

// TestStandardPorts runs, in a network namespace of its own, what has the ports
// of AWS compiled in: 8883 and 443.
func TestStandardPorts(t *testing.T) {
	if os.Getenv(namespaced) == "" {
		t.Parallel()
		need(t, "unshare", "ip", "python3")
		unshare := []string{"unshare", "-n"}
		if os.Getuid() != 0 {
			unshare = append(unshare, "-r")
		}
		if _, stderr, err := try(t, t.TempDir(), os.Environ(), unshare[0], append(unshare[1:], "true")...); err != nil {
			t.Skipf("unshare makes no network namespace here: %v %s", err, stderr)
		}
		wd, err := os.Getwd()
		check(t, err)
		out, stderr, err := try(t, wd, append(os.Environ(), namespaced+"=1"), unshare[0],
			append(unshare[1:], "sh", "-c", `ip link set lo up && exec "$0" "$@"`, os.Args[0], "-test.run", "^TestStandardPorts$", "-test.v", "-test.count", "1")...)
		t.Logf("%s%s", out, stderr)
		check(t, err)
		return
	}
	s := start(t, "--mqtt-listen", "127.0.0.1:8883", "--device-https-listen", "127.0.0.1:443")
	t.Run("document 000", s.document000)
	t.Run("document 003", s.document003)
	for _, p := range programs(t) {
		if p.name != "AWSIoTPythonSDK" && p.name != "awsiotsdk" { // those that ask by ALPN on port 443 alone
			continue
		}
		for _, version := range p.versions {
			t.Run(p.name+" v"+version+" on 443", func(t *testing.T) {
				c := s.newScene(t)
				p.run(t, c, append(c.environ(t, "device_https", version), "MQTT_ALPN="))
			})
		}
	}
}

// endpoint is what DescribeEndpoint answers.
func (s *server) endpoint(t *testing.T, kind string) string {
	t.Helper()
	out, err := s.iot.DescribeEndpoint(t.Context(), &iot.DescribeEndpointInput{EndpointType: &kind})
	check(t, err)
	return *out.EndpointAddress
}

// named makes a thing of this name, with a certificate.
func (s *server) named(t *testing.T, thing string) *device {
	t.Helper()
	d := s.device(t)
	check(t, second(s.iot.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: &thing})))
	check(t, second(s.iot.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: aws.String(d.certARN)})))
	d.thing = thing
	return d
}

// document000 runs upload_file.py with a small file, which goes by MQTT, and a
// large one, which goes to S3.
func (s *server) document000(t *testing.T) {
	d := s.named(t, "example-thing")
	bucket := s.bucket(t)
	_, roleARN := s.role(t, trustCredentials(), document(allow("s3:PutObject", "arn:aws:s3:::"+bucket+"/*")))
	alias, aliasARN := s.alias(t, roleARN)
	d.grant(t,
		allow("iot:Connect", arnIoT("client/example-thing")),
		allow([]string{"iot:Publish", "iot:Receive"}, []string{arnIoT("topic/my/test/topic"), arnIoT("topic/file/upload")}),
		allow("iot:Subscribe", arnIoT("topicfilter/my/test/topic")),
		allow("iot:AssumeRoleWithCertificate", aliasARN),
	)
	sub := s.device(t)
	sub.grant(t,
		allow("iot:Connect", arnIoT("client/*")),
		allow("iot:Subscribe", arnIoT("topicfilter/file/upload")),
		allow("iot:Receive", arnIoT("topic/file/upload")),
	)
	l := sub.open(t, session{id: "test-client"})
	check(t, second(l.subscribe(1, "file/upload")))

	dir := t.TempDir()
	s.install(t, d, dir, strings.NewReplacer(
		"${iot_endpoint}", s.endpoint(t, "iot:Data-ATS"), "${iot_cred_endpoint}", s.endpoint(t, "iot:CredentialProvider"),
		"${role_alias}", alias, "${target_bucket_name}", bucket, "/home/ec2-user", dir))
	env := append(process.CleanEnv(), "AWS_ENDPOINT_URL="+s.httpsEndpoint(t, "127.0.0.1"), "AWS_CA_BUNDLE="+s.Env["SEKISHO_ROOT_CA"])
	for _, c := range []struct {
		file, prints string
		size         int
		want         map[string]string
	}{
		{"light_file.txt", "Successfully sent file directly via MQTT\n", 5 << 10, map[string]string{"type": "file_content", "content": base64.StdEncoding.EncodeToString(make([]byte, 5<<10))}},
		{"large_file.txt", "Successfully sent file directly to S3\n", 1 << 20, map[string]string{"type": "s3_url", "url": "https://" + bucket + ".s3.amazonaws.com/large_file.txt"}},
	} {
		path := filepath.Join(dir, c.file)
		check(t, os.WriteFile(path, make([]byte, c.size), 0o600))
		if out := runIn(t, dir, env, "python3", "upload_file.py", c.file); out != c.prints {
			t.Errorf("%s: it prints %q", c.file, out)
		}
		m, err := l.receive(10 * time.Second)
		check(t, err)
		var got map[string]string
		check(t, json.Unmarshal(m.Payload, &got))
		if string(m.Topic) != "file/upload" || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %s got %d bytes of %q, want %q", c.file, m.Topic, len(m.Payload), got["type"], c.want["type"])
		}
		time.Sleep(1100 * time.Millisecond) // one CONNECT a second by one client ID
	}
	if got, want := s.objectSum(t, bucket, "large_file.txt"), fileSum(t, filepath.Join(dir, "large_file.txt")); got != want {
		t.Errorf("the object has SHA-256 %s, the file %s", got, want)
	}
}

// install puts upload_file.py and what it reads into dir.
func (s *server) install(t *testing.T, d *device, dir string, fill *strings.Replacer) {
	t.Helper()
	script, err := os.ReadFile(testdata(t, "document000.py"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "upload_file.py"), []byte(fill.Replace(string(script))), 0o600))
	for name, from := range map[string]string{"root-ca.pem": s.Env["SEKISHO_ROOT_CA"], "certificate.pem": d.certFile(), "private.key": d.keyFile()} {
		b, err := os.ReadFile(from)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

// document003 runs the pubsub flow as the document's instance does, and once
// more for a device that may not receive.
func (s *server) document003(t *testing.T) {
	for _, receives := range []bool{true, false} {
		d := s.device(t)
		statements := []map[string]any{
			allow("iot:Connect", arnIoT("client/"+d.thing)),
			allow("iot:Publish", arnIoT("topic/test/topic")),
			allow("iot:Subscribe", arnIoT("topicfilter/test/topic")),
		}
		n := 0
		if receives {
			n = 5
			statements = append(statements, allow("iot:Receive", arnIoT("topic/test/topic")))
		}
		d.grant(t, statements...)
		ctx := exec.CommandContext(t.Context(), "python3", testdata(t, "document003.py"),
			"--endpoint", s.endpoint(t, "iot:Data-ATS"), "--ca_file", s.Env["SEKISHO_ROOT_CA"], "--cert", d.certFile(), "--key", d.keyFile(),
			"--client_id", d.thing, "--topic", "test/topic", "--count", "5")
		var stdout bytes.Buffer
		ctx.Stdout, ctx.Stderr = &stdout, &stdout
		check(t, ctx.Run())
		out := stdout.String()
		if got := strings.Count(out, `Received message from topic 'test/topic': b'"Hello World!`); got != n || !strings.Contains(out, fmt.Sprintf("%d message(s) received.", n)) || !strings.HasSuffix(out, "Disconnected!\n") {
			t.Errorf("%d messages came, want %d:\n%s", got, n, out)
		}
		if !receives {
			d.denied(t, "iot:Receive", "topic/test/topic")
		}
	}
}
