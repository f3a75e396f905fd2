//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
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
	shared.awsFails(t, []string{"(ResourceAlreadyExistsException)"}, "iot", "register-certificate-without-ca", "--certificate-pem", file("device.pem"))
	shared.awsFails(t, []string{"(CertificateStateException)"}, "iot", "delete-ca-certificate", "--certificate-id", id)
	shared.aws(t, "iot", "update-ca-certificate", "--certificate-id", id, "--new-status", "INACTIVE", "--remove-auto-registration")
	shared.aws(t, "iot", "delete-ca-certificate", "--certificate-id", id)
}
