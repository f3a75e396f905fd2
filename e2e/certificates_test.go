//go:build e2e

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// Certificates of an openssl CA, registered by boto3, authenticate.
func TestCertificatesBoto3(t *testing.T) {
	t.Parallel()
	need(t, "python3", "openssl")
	_, roleARN := shared.role(t, trustCredentials(), document(allow("s3:*", "*")))
	alias, aliasARN := shared.alias(t, roleARN)
	policy := unique("policy")
	_, err := shared.iot.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: &policy, PolicyDocument: document(allow("iot:AssumeRoleWithCertificate", aliasARN))})
	check(t, err)
	env := shared.environ("PYTHONDONTWRITEBYTECODE=1", "PREFIX="+unique("certs"), "ROLE_ALIAS="+alias, "IOT_POLICY="+policy)
	runIn(t, t.TempDir(), env, "python3", testdata(t, "certificates.py"))
}

// The AWS CLI's commands as AWS's guide for a CA of one's own has them.
func TestCertificatesCLI(t *testing.T) {
	t.Parallel()
	need(t, "aws", "openssl")
	dir := t.TempDir()
	file := func(name string) string { return "file://" + filepath.Join(dir, name) }
	run := func(args ...string) { runIn(t, dir, os.Environ(), "openssl", args...) }
	run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN="+unique("ca"), "-keyout", "ca.key", "-out", "ca.pem")
	code, _ := shared.aws(t, "iot", "get-registration-code")["registrationCode"].(string)
	run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN="+code, "-keyout", "proof.key", "-out", "proof.csr")
	run("x509", "-req", "-in", "proof.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-out", "proof.pem")
	made := shared.aws(t, "iot", "register-ca-certificate", "--ca-certificate", file("ca.pem"), "--verification-certificate", file("proof.pem"), "--set-as-active", "--allow-auto-registration")
	id, _ := made["certificateId"].(string)
	if !strings.HasSuffix(made["certificateArn"].(string), ":cacert/"+id) { //nolint:forcetypeassert // a test
		t.Errorf("%v", made)
	}
	d := shared.aws(t, "iot", "describe-ca-certificate", "--certificate-id", id)["certificateDescription"].(map[string]any) //nolint:forcetypeassert // a test
	if d["status"] != "ACTIVE" || d["autoRegistrationStatus"] != "ENABLE" {
		t.Errorf("%v", d)
	}
	run("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=device", "-keyout", "device.key", "-out", "device.csr")
	run("x509", "-req", "-in", "device.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "1", "-out", "device.pem")
	cert := shared.aws(t, "iot", "register-certificate", "--certificate-pem", file("device.pem"), "--ca-certificate-pem", file("ca.pem"), "--status", "ACTIVE")
	list := shared.aws(t, "iot", "list-certificates-by-ca", "--ca-certificate-id", id)["certificates"].([]any) //nolint:forcetypeassert // a test
	if len(list) != 1 || list[0].(map[string]any)["certificateId"] != cert["certificateId"] {                  //nolint:forcetypeassert // a test
		t.Errorf("%v", list)
	}
	shared.announces(t, dir, id)
	shared.awsFails(t, []string{"(ResourceAlreadyExistsException)"}, "iot", "register-certificate-without-ca", "--certificate-pem", file("device.pem"))
	shared.awsFails(t, []string{"(CertificateStateException)"}, "iot", "delete-ca-certificate", "--certificate-id", id)
	shared.aws(t, "iot", "update-ca-certificate", "--certificate-id", id, "--new-status", "INACTIVE", "--remove-auto-registration")
	shared.aws(t, "iot", "delete-ca-certificate", "--certificate-id", id)
}

// announces sees that a certificate of the CA in dir registers itself with its
// first connection, and that a subscriber hears of it.
func (s *server) announces(t *testing.T, dir, ca string) {
	t.Helper()
	need(t, "mosquitto_pub", "mosquitto_sub", "stdbuf")
	topic := "$aws/events/certificates/registered/" + ca
	watcher, late := s.device(t), &device{s: s, thing: unique("late"), dir: t.TempDir()}
	watcher.grant(t, allow("iot:Connect", "*"), allow("iot:Subscribe", arnIoT("topicfilter/$aws/events/*")), allow("iot:Receive", arnIoT("topic/$aws/events/*")))
	runIn(t, dir, os.Environ(), "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-nodes", "-subj", "/CN=late", "-keyout", late.keyFile(), "-out", "late.csr")
	runIn(t, dir, os.Environ(), "openssl", "x509", "-req", "-in", "late.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "1", "-out", late.certFile())
	heard := listen(t, dir, s.environ(), "Subscribed (mid: 1): 1", append([]string{"stdbuf", "-oL", "mosquitto_sub"},
		watcher.mosquitto(t, "mqtt", "mqttv5", "-t", topic, "-C", "1", "-W", "20", "-d", "-F", "> %p")...)...)
	pub := append([]string{}, late.mosquitto(t, "mqtt", "mqttv5", "-t", "a", "-m", "b")...)
	if out, _, err := try(t, dir, s.environ(), "mosquitto_pub", pub...); err == nil {
		t.Errorf("the first connection was let in: %s", out)
	}
	out, err := heard.end()
	_, payload, _ := strings.Cut(out, "> {")
	var e struct{ CertificateID, CaCertificateID, CertificateStatus string }
	if err := json.NewDecoder(strings.NewReader("{" + payload)).Decode(&e); err != nil || e.CaCertificateID != ca || e.CertificateStatus != "PENDING_ACTIVATION" {
		t.Fatalf("%v: %s", err, out)
	}
	check(t, err)
	late.certID, late.certARN = e.CertificateID, arnIoT("cert/"+e.CertificateID)
	late.grant(t, allow([]string{"iot:Connect", "iot:Publish"}, "*"))
	late.setStatus(t, iottypes.CertificateStatusActive)
	time.Sleep(1100 * time.Millisecond) // one CONNECT a second by one client ID
	runIn(t, dir, s.environ(), "mosquitto_pub", pub...)
}
