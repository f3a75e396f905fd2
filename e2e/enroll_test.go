//go:build e2e

package e2e_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestEnroll: one command, then curl with the files that it left.
func TestEnroll(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	bin, err := process.Binary()
	check(t, err)
	_, roleARN := shared.role(t, trustCredentials(), document(allow("s3:*", "*")))
	alias, _ := shared.alias(t, roleARN)
	thing := unique("camera")
	dir := filepath.Join(t.TempDir(), "out")
	// Flags may follow arguments.
	runIn(t, t.TempDir(), shared.environ(), bin, "enroll", thing, "--role-alias", alias, "--out", dir)
	for name, mode := range map[string]os.FileMode{"device.pem.crt": 0, "private.pem.key": 0o600, "root-ca.pem": 0, "device.json": 0} {
		info, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		if mode != 0 && info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "device.json"))
	check(t, err)
	if !json.Valid(b) || !strings.Contains(string(b), thing) || !strings.Contains(string(b), alias) || !strings.Contains(string(b), "arn:aws:iot:"+region+":000000000000:cert/") {
		t.Errorf("device.json: %s", b)
	}
	d := &device{s: shared, thing: thing, dir: dir}
	d.curl(t, shared.credentialsURL(alias), "-H", "x-amzn-iot-thingname: "+thing, "--cacert", filepath.Join(dir, "root-ca.pem")).want(t, "", 200, "")
	principals, err := shared.iot.ListThingPrincipals(t.Context(), &iot.ListThingPrincipalsInput{ThingName: &thing})
	check(t, err)
	if len(principals.Principals) != 1 {
		t.Errorf("principals: %v", principals.Principals)
	}

	// A failure half way leaves nothing: neither a thing nor files.
	ghost, out := unique("ghost"), filepath.Join(t.TempDir(), "out")
	_, stderr, err := try(t, t.TempDir(), shared.environ(), bin, "enroll", ghost, "--policy", "no-such-policy", "--out", out)
	wantExit(t, err, 1)
	if !strings.Contains(stderr, "no-such-policy") {
		t.Errorf("the message %q does not name the policy", stderr)
	}
	_, err = shared.iot.DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: &ghost})
	wantError(t, "the thing of a failed enrolment", err, 404, "ResourceNotFoundException")
	if _, err := os.Stat(filepath.Join(out, "private.pem.key")); err == nil {
		t.Error("a private key was left")
	}
	_, _, err = try(t, t.TempDir(), shared.environ(), bin, "enroll", thing, "--role-alias", alias, "--out", dir)
	wantExit(t, err, 1) // the folder holds a device
	_, _, err = try(t, t.TempDir(), shared.environ(), bin, "enroll")
	wantExit(t, err, 2)
}

// TestExplain: why a session may not, and what came near.
func TestExplain(t *testing.T) {
	t.Parallel()
	bin, err := process.Binary()
	check(t, err)
	_, roleARN := shared.role(t, trustCredentials(), document(allow("s3:PutObject", "arn:aws:s3:::uploads/${credentials-iot:ThingName}/*")))
	alias, aliasARN := shared.alias(t, roleARN)
	d := shared.device(t, aliasARN)
	c, err := d.fetch(t.Context(), alias)
	check(t, err)
	// A session that was never used is not known: tokens are not stored.
	session := shared.config(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken))
	_, err = sts.NewFromConfig(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	check(t, err)
	run := func(want int, words []string, args ...string) {
		t.Helper()
		out, stderr, err := try(t, t.TempDir(), shared.environ(), bin, append([]string{"explain"}, args...)...)
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		} else {
			check(t, err)
		}
		if code != want {
			t.Errorf("explain %v: exit code %d, want %d\n%s%s", args, code, want, out, stderr)
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("explain %v: %q lacks %q", args, out, w)
			}
		}
	}
	s3 := []string{"--session", c.AccessKeyID, "--action", "s3:PutObject", "--resource"}
	run(0, []string{"inline"}, append(s3, "arn:aws:s3:::uploads/"+d.thing+"/f")...)
	run(1, []string{"resource"}, append(s3, "arn:aws:s3:::uploads/other/f")...)
	run(0, []string{d.policy}, "--thing", d.thing, "--action", "iot:AssumeRoleWithCertificate", "--resource", aliasARN)
	run(1, nil, "--thing", d.thing, "--action", "iot:AssumeRoleWithCertificate", "--resource", aliasARN+"x")

	topics := unique("policy")
	_, err = shared.iot.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: &topics, PolicyDocument: document(allow([]string{"iot:Subscribe"}, "arn:aws:iot:"+region+":000000000000:topic/a/b"))})
	check(t, err)
	_, err = shared.iot.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: &topics, Target: aws.String(d.certARN)})
	check(t, err)
	run(1, []string{"topicfilter"}, "--thing", d.thing, "--action", "iot:Subscribe", "--resource", "arn:aws:iot:"+region+":000000000000:topicfilter/a/b")
}
