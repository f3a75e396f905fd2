//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// emptyHash is the SHA-256 of no payload.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signer is somebody with AWS credentials, and how they are taken away.
type signer struct {
	*scene
	name        string // who
	credentials aws.Credentials
	revoke      func(t *testing.T)
}

// allowScene is an IAM policy of what newScene's device may do.
func (c *scene) allowScene() *string {
	up, quiet := c.thing+"/up", c.thing+"/quiet"
	return document(
		allow("iot:Connect", arnIoT("client/"+c.thing)),
		allow("iot:Publish", []string{arnIoT("topic/" + up), arnIoT("topic/" + quiet)}),
		allow("iot:Subscribe", []string{arnIoT("topicfilter/" + up), arnIoT("topicfilter/" + quiet)}),
		allow("iot:Receive", arnIoT("topic/"+up)),
	)
}

// user signs with the key of an IAM user.
func (s *server) user(t *testing.T, c *scene) *signer {
	t.Helper()
	name := unique("user")
	check(t, second(s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name})))
	check(t, second(s.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("inline"), PolicyDocument: c.allowScene()})))
	key, err := s.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	check(t, err)
	k := key.AccessKey
	return &signer{
		scene: c, name: "user", credentials: aws.Credentials{AccessKeyID: *k.AccessKeyId, SecretAccessKey: *k.SecretAccessKey},
		revoke: func(t *testing.T) {
			t.Helper()
			check(t, second(s.iam.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: &name, AccessKeyId: k.AccessKeyId, Status: iamtypes.StatusTypeInactive})))
		},
	}
}

// provided signs with what the credential provider gave the device.
func (s *server) provided(t *testing.T, c *scene) *signer {
	t.Helper()
	_, roleARN := s.role(t, trustCredentials(), c.allowScene())
	alias, aliasARN := s.alias(t, roleARN)
	d := s.device(t, aliasARN)
	got, err := d.fetch(t.Context(), alias)
	check(t, err)
	return &signer{
		scene: c, name: "credential provider",
		credentials: aws.Credentials{AccessKeyID: got.AccessKeyID, SecretAccessKey: got.SecretAccessKey, SessionToken: got.SessionToken},
		revoke:      func(t *testing.T) { t.Helper(); d.setStatus(t, types.CertificateStatusInactive) },
	}
}

// assumed signs with what AssumeRole gave a user.
func (s *server) assumed(t *testing.T, c *scene) *signer {
	t.Helper()
	name := unique("user")
	user, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name})
	check(t, err)
	key, err := s.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	check(t, err)
	trust := document(map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]string{"AWS": *user.User.Arn}})
	role, roleARN := s.role(t, trust, c.allowScene())
	conf := s.config(credentials.NewStaticCredentialsProvider(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, ""))
	out, err := sts.NewFromConfig(conf).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &roleARN, RoleSessionName: aws.String("console")})
	check(t, err)
	return &signer{
		scene: c, name: "AssumeRole",
		credentials: aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken},
		revoke: func(t *testing.T) {
			t.Helper()
			check(t, second(s.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: aws.String("inline")})))
		},
	}
}

// environ is what the programs are told.
func (w *signer) environ(t *testing.T, port, version string) []string {
	t.Helper()
	_, number, err := net.SplitHostPort(w.s.mqttAddr(t, port))
	check(t, err)
	ca := w.s.Env["SEKISHO_ROOT_CA"]
	return append(process.CleanEnv(),
		"MQTT_HOST=localhost", "MQTT_PORT="+number, "MQTT_VERSION="+version, "MQTT_CA="+ca, "NODE_EXTRA_CA_CERTS="+ca,
		"MQTT_THING="+w.thing, "MQTT_ELSEWHERE="+w.elsewhere, "AWS_REGION="+region,
		"AWS_ACCESS_KEY_ID="+w.credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+w.credentials.SecretAccessKey, "AWS_SESSION_TOKEN="+w.credentials.SessionToken,
	)
}

// presign makes the URL that browsers use.
func presign(t *testing.T, c aws.Credentials, host string, at time.Time) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/mqtt?X-Amz-Expires=60", http.NoBody)
	check(t, err)
	signedURL, _, err := v4.NewSigner().PresignHTTP(t.Context(), c, r, emptyHash, "iotdevicegateway", region, at)
	check(t, err)
	return "wss" + strings.TrimPrefix(signedURL, "https")
}

// webPrograms are those that speak MQTT over WebSocket; true for those that are
// given a signed URL.
func webPrograms(t *testing.T) map[*program]bool {
	t.Helper()
	list := map[*program]bool{}
	for _, p := range programs(t) {
		switch p.name {
		case "aws-iot-device-sdk", "aws-iot-device-sdk-v2", "awsiotsdk":
			list[&p] = false
		case "MQTT.js", "paho-mqtt 2":
			list[&p] = true
		}
	}
	return list
}

// TestMQTTWebSocket: client libraries over WebSocket, by their own signature or
// by a signed URL, with a user's key and with temporary credentials, do what
// the IAM policy allows and nothing else; and their connection ends with the
// credentials.
func TestMQTTWebSocket(t *testing.T) {
	t.Parallel()
	need(t, "python3", "node")
	who := []func(*testing.T, *scene) *signer{shared.user, shared.provided, shared.assumed}
	n := 0
	for p, byURL := range webPrograms(t) {
		for _, version := range p.versions {
			for _, port := range []string{"api", "device_https"} {
				w := who[n%len(who)](t, shared.newScene(t))
				n++
				t.Run(fmt.Sprintf("%s v%s %s %s", p.name, version, port, w.name), func(t *testing.T) { w.play(t, p, byURL, port, version) })
			}
		}
	}
}

func (w *signer) play(t *testing.T, p *program, byURL bool, port, version string) {
	env := append(w.environ(t, port, version), p.env...)
	if byURL {
		_, number, err := net.SplitHostPort(w.s.mqttAddr(t, port))
		check(t, err)
		env = append(env, "MQTT_WS_URL="+presign(t, w.credentials, "localhost:"+number, time.Now()))
	}
	out, stderr, err := try(t, testdata(t, "clients"), env, p.command[0], p.command[1:]...)
	want := "connected, subscribed, received " + w.thing + "/up hello up, subscribe refused, publish refused"
	if got := strings.Join(said(out), ", "); err != nil || got != want {
		t.Fatalf("%v, the client says %q, want %q\n%s%s", err, got, want, out, stderr)
	}
	w.heard(t, "quiet", "up")
	bin, err := process.Binary()
	check(t, err)
	for action, resource := range map[string]string{
		"iot:Receive": "topic/" + w.thing + "/quiet", "iot:Subscribe": "topicfilter/" + w.elsewhere, "iot:Publish": "topic/" + w.elsewhere,
	} {
		w.wantLogged(t, map[string]string{"msg": "mqtt denied", "client_id": w.thing, "thing": "", "action": action, "resource": arnIoT(resource)})
		_, _, err := try(t, t.TempDir(), w.s.environ(), bin, "explain", "--session", w.credentials.AccessKeyID, "--action", action, "--resource", arnIoT(resource))
		wantExit(t, err, 1)
	}

	time.Sleep(time.Second) // one CONNECT a second
	l := listen(t, testdata(t, "clients"), append(env, "MQTT_HOLD=1"), "> subscribed", p.command...)
	w.revoke(t)
	if out, err := l.end(); err != nil || !strings.HasSuffix(strings.Join(said(out), ", "), "connected, subscribed, ended") {
		t.Errorf("after the credentials were revoked: %v %s", err, out)
	}
	if out, _, err := try(t, testdata(t, "clients"), append(env, "MQTT_HOLD=1"), p.command[0], p.command[1:]...); err == nil || len(said(out)) > 0 {
		t.Errorf("with revoked credentials: %s", out)
	}
}

// TestMQTTWebSocketURL: a signed URL is good for its time, its host and its signature.
func TestMQTTWebSocketURL(t *testing.T) {
	t.Parallel()
	w := shared.user(t, shared.newScene(t))
	other := shared.provided(t, w.scene)
	host := "localhost:" + shared.httpsPort(t)
	good := presign(t, w.credentials, host, time.Now())
	mixed := other.credentials
	mixed.AccessKeyID, mixed.SecretAccessKey = w.credentials.AccessKeyID, w.credentials.SecretAccessKey
	appended := other.credentials // as AWS documents it: the token is added after signing
	appended.SessionToken = ""
	for name, c := range map[string]struct {
		url  string
		want int
	}{
		"good":                      {good, 101},
		"token in the signature":    {presign(t, other.credentials, host, time.Now()), 101},
		"token after the signature": {presign(t, appended, host, time.Now()) + "&X-Amz-Security-Token=" + url.QueryEscape(other.credentials.SessionToken), 101},
		"no token":                  {presign(t, appended, host, time.Now()), 403},
		"somebody else's token":     {presign(t, mixed, host, time.Now()), 403},
		"expired":                   {presign(t, w.credentials, host, time.Now().Add(-2*time.Minute)), 403},
		"of tomorrow":               {presign(t, w.credentials, host, time.Now().Add(24*time.Hour)), 403},
		"another host":              {presign(t, w.credentials, "example.com", time.Now()), 403},
		"another signature":         {good[:len(good)-1] + map[bool]string{true: "1", false: "0"}[strings.HasSuffix(good, "0")], 403},
		"no signature":              {"wss://" + host + "/mqtt", 403},
	} {
		u, err := url.Parse(c.url)
		check(t, err)
		u.Scheme, u.Host = "https", host
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), http.NoBody)
		check(t, err)
		for k, v := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "mqtt"} {
			r.Header.Set(k, v)
		}
		tr := shared.transport()
		res, err := tr.RoundTrip(r)
		check(t, err)
		check(t, res.Body.Close())
		tr.CloseIdleConnections()
		if res.StatusCode != c.want {
			t.Errorf("%s: %s, want %d", name, res.Status, c.want)
		}
	}
}

// httpsPort is the number of the API port.
func (s *server) httpsPort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(s.mqttAddr(t, "api"))
	check(t, err)
	return port
}
