//go:build e2e

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

const (
	sourceAccount = "111122223333"
	sourceRegion  = "eu-west-1"
)

// startSource runs the Sekisho that a fleet is moved from.
func startSource(t *testing.T) *server {
	t.Helper()
	s := start(t, "--region", sourceRegion, "--account-id", sourceAccount)
	c := s.config(credentials.NewStaticCredentialsProvider(s.Env["AWS_ACCESS_KEY_ID"], s.Env["AWS_SECRET_ACCESS_KEY"], ""))
	c.Region = sourceRegion
	s.iam, s.iot, s.sts = iam.NewFromConfig(c), iot.NewFromConfig(c), sts.NewFromConfig(c)
	s.s3 = s3.NewFromConfig(c, pathStyle)
	return s
}

// profile writes the AWS files that name a server as a profile.
func (s *server) profile(t *testing.T, name string) []string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "config"), fmt.Appendf(nil, "[profile %s]\nregion = %s\nendpoint_url = %s\nca_bundle = %s\n"+
		"[profile empty]\nregion = %s\n[profile reader]\nregion = %s\nendpoint_url = %s\nca_bundle = %s\nsource_profile = %s\nrole_arn = arn:aws:iam::%s:role/reader\n",
		name, sourceRegion, s.Env["AWS_ENDPOINT_URL"], s.Env["SEKISHO_ROOT_CA"], sourceRegion,
		sourceRegion, s.Env["AWS_ENDPOINT_URL"], s.Env["SEKISHO_ROOT_CA"], name, sourceAccount), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "credentials"), fmt.Appendf(nil, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		name, s.Env["AWS_ACCESS_KEY_ID"], s.Env["AWS_SECRET_ACCESS_KEY"]), 0o600))
	return []string{
		"AWS_CONFIG_FILE=" + filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(dir, "credentials"),
		// What must not leak into the source, nor into the target.
		"AWS_PROFILE=nobody", "AWS_ENDPOINT_URL_IOT=http://127.0.0.1:1", "AWS_ENDPOINT_URL_STS=http://127.0.0.1:1", "AWS_ENDPOINT_URL_IAM=http://127.0.0.1:1",
		"AWS_SESSION_TOKEN=", "AWS_MAX_ATTEMPTS=1", "AWS_ROLE_ARN=arn:aws:iam::" + sourceAccount + ":role/x", "AWS_EC2_METADATA_DISABLED=true",
	}
}

// fleetToMove is what the source has.
type fleetToMove struct {
	alias, policy, role string
	types               bool // the source has thing types and groups
	active              *device
	ids                 map[iottypes.CertificateStatus]string
	caPEM, ofCA         string // a CA, and the id of a certificate registered with it
}

const fleetThings = 260 // more than a page

func fillSource(t *testing.T, s *server, bucket string) *fleetToMove {
	t.Helper()
	ctx := t.Context()
	f := &fleetToMove{alias: "upload", policy: "device", role: "uploader", ids: map[iottypes.CertificateStatus]string{}}
	managed, err := s.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("list"), Path: aws.String("/fleet/"), PolicyDocument: document(allow("s3:ListBucket", "*"))})
	check(t, err)
	edge, err := s.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("edge"), PolicyDocument: document(allow("s3:*", "*"))})
	check(t, err)
	trust := document(map[string]any{
		"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]string{"Service": "credentials.iot.amazonaws.com"},
		"Condition": map[string]any{"StringEquals": map[string]string{"aws:SourceAccount": sourceAccount}, "ArnLike": map[string]string{"aws:SourceArn": "arn:aws:iot:" + sourceRegion + ":" + sourceAccount + ":*"}},
	})
	role, err := s.iam.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: &f.role, Path: aws.String("/fleet/"), AssumeRolePolicyDocument: trust, MaxSessionDuration: aws.Int32(7200), PermissionsBoundary: edge.Policy.Arn,
		Tags: []iamtypes.Tag{{Key: aws.String("site"), Value: aws.String("north")}},
	})
	check(t, err)
	_, err = s.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: &f.role, PolicyName: aws.String("own-prefix"), PolicyDocument: document(allow("s3:PutObject", "arn:aws:s3:::"+bucket+"/${credentials-iot:ThingName}/*")),
	})
	check(t, err)
	for _, arn := range []*string{managed.Policy.Arn, aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")} {
		_, err = s.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &f.role, PolicyArn: arn})
		check(t, err)
	}
	alias, err := s.iot.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: &f.alias, RoleArn: role.Role.Arn, CredentialDurationSeconds: aws.Int32(1800)})
	check(t, err)
	// Versions 2 to 4, of which 3 is the default.
	_, err = s.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &f.policy, PolicyDocument: document(allow("iot:Connect", "*"))})
	check(t, err)
	for n, resource := range []string{*alias.RoleAliasArn + "-old", *alias.RoleAliasArn, *alias.RoleAliasArn + "-next"} {
		_, err = s.iot.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: &f.policy, PolicyDocument: document(allow("iot:AssumeRoleWithCertificate", resource)), SetAsDefault: n == 1})
		check(t, err)
	}
	_, err = s.iot.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: &f.policy, PolicyVersionId: aws.String("1")})
	check(t, err)
	f.fillThings(t, s)
	f.fillCertificates(t, s)
	f.fillCA(t, s)
	// Whoever reads it may only read.
	_, err = s.iam.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName:                 aws.String("reader"),
		AssumeRolePolicyDocument: document(map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]string{"AWS": "arn:aws:iam::" + sourceAccount + ":root"}}),
	})
	check(t, err)
	_, err = s.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String("reader"), PolicyName: aws.String("read"),
		PolicyDocument: document(allow([]string{"iot:List*", "iot:Describe*", "iot:Get*", "iam:Get*", "iam:List*"}, "*")),
	})
	check(t, err)
	return f
}

func (f *fleetToMove) fillThings(t *testing.T, s *server) {
	t.Helper()
	ctx := t.Context()
	in := iot.CreateThingInput{}
	_, err := s.iot.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String("pump"), ThingTypeProperties: &iottypes.ThingTypeProperties{ThingTypeDescription: aws.String("pumps"), SearchableAttributes: []string{"site"}}})
	if f.types = err == nil; f.types {
		in.ThingTypeName = aws.String("pump")
		for _, g := range []iot.CreateThingGroupInput{{ThingGroupName: aws.String("north")}, {ThingGroupName: aws.String("hall-1"), ParentGroupName: aws.String("north")}} {
			_, err := s.iot.CreateThingGroup(ctx, &g)
			check(t, err)
		}
	} else if !strings.Contains(err.Error(), "NotImplemented") {
		t.Fatal(err)
	}
	for i := range fleetThings {
		in.ThingName = aws.String(fmt.Sprintf("thing-%03d", i))
		in.AttributePayload = &iottypes.AttributePayload{Attributes: map[string]string{"number": fmt.Sprint(i)}}
		one := in
		if i == 8 { // which is made later than the others, when its type would be deprecated
			one.ThingTypeName = nil
		}
		_, err := s.iot.CreateThing(ctx, &one)
		check(t, err)
	}
	if f.types {
		_, err := s.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingGroupName: aws.String("hall-1"), ThingName: aws.String("thing-000")})
		check(t, err)
		_, err = s.iot.DeprecateThingType(ctx, &iot.DeprecateThingTypeInput{ThingTypeName: aws.String("pump")})
		check(t, err)
	}
}

// fillCertificates makes one certificate of each status, the active one out of
// a signing request.
func (f *fleetToMove) fillCertificates(t *testing.T, s *server) {
	t.Helper()
	ctx := t.Context()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "thing-000"}}, key)
	check(t, err)
	made, err := s.iot.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{
		SetAsActive: true, CertificateSigningRequest: aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))),
	})
	check(t, err)
	block, _ := pem.Decode([]byte(*made.CertificatePem))
	f.active = &device{thing: "thing-000", certID: *made.CertificateId, cert: tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}
	f.ids[iottypes.CertificateStatusActive] = *made.CertificateId
	attach := func(arn *string, thing string) {
		_, err := s.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: arn})
		check(t, err)
		_, err = s.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &f.policy, Target: arn})
		check(t, err)
	}
	attach(made.CertificateArn, "thing-000")
	for i, status := range []iottypes.CertificateStatus{iottypes.CertificateStatusInactive, iottypes.CertificateStatusRevoked} {
		c, err := s.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
		check(t, err)
		attach(c.CertificateArn, fmt.Sprintf("thing-%03d", i+1))
		_, err = s.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: c.CertificateId, NewStatus: status})
		check(t, err)
		f.ids[status] = *c.CertificateId
	}
}

// fillCA registers a CA and a certificate of it.
func (f *fleetToMove) fillCA(t *testing.T, s *server) {
	t.Helper()
	dir := t.TempDir()
	runIn(t, dir, os.Environ(), "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=Plant CA", "-keyout", "ca.key", "-out", "ca.pem")
	runIn(t, dir, os.Environ(), "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=device", "-keyout", "device.key", "-out", "device.csr")
	runIn(t, dir, os.Environ(), "openssl", "x509", "-req", "-in", "device.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-out", "device.pem")
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	check(t, err)
	cert, err := os.ReadFile(filepath.Join(dir, "device.pem"))
	check(t, err)
	f.caPEM = string(ca)
	f.registerCA(t, s)
	out, err := s.iot.RegisterCertificate(t.Context(), &iot.RegisterCertificateInput{CertificatePem: aws.String(string(cert)), Status: iottypes.CertificateStatusActive})
	check(t, err)
	f.ofCA = *out.CertificateId
}

func (f *fleetToMove) registerCA(t *testing.T, s *server) {
	t.Helper()
	_, err := s.iot.RegisterCACertificate(t.Context(), &iot.RegisterCACertificateInput{CaCertificate: &f.caPEM, CertificateMode: iottypes.CertificateModeSniOnly, SetAsActive: true})
	check(t, err)
}

// A fleet moves from one Sekisho to another, of another account and region,
// and its devices notice nothing but the new address.
func TestImport(t *testing.T) {
	t.Parallel()
	src, dst := startSource(t), start(t)
	bucket := dst.bucket(t)
	f := fillSource(t, src, bucket)
	f.registerCA(t, dst)
	env := dst.environ(src.profile(t, "plant")...)
	run := func(exit bool, want []string, extra ...string) {
		t.Helper()
		out, errOut, err := try(t, t.TempDir(), env, binSekisho(t), append([]string{"import", "aws", "--profile", "plant", "--rate", "2000"}, extra...)...)
		if (err == nil) != exit {
			t.Fatalf("import %v: %v\n%s%s", extra, err, out, errOut)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("import %v: %q is missing in\n%s", extra, w, out)
			}
		}
	}
	plan := []string{
		"from account " + sourceAccount + " in " + sourceRegion + " to account 000000000000 in " + region,
		"create    thing thing-259\n", "create    IoT policy device\n", "create    role uploader\n", "create    role alias upload\n",
		"create    policy of role uploader: own-prefix\n", "create    IAM policy list\n", "create    IAM policy edge\n",
		"create    certificate " + f.active.certID + "\n", "create    attachment cert/" + f.active.certID + " to thing thing-000\n",
		"create    attachment policy device to cert/" + f.active.certID + "\n",
	}
	if f.types {
		plan = append(plan, "create    thing type pump\n", "create    thing group hall-1\n", "create    member thing-000 of hall-1\n", "create    deprecation pump\n")
	}
	run(true, append(plan, "to create"), "--dry-run")
	if list, err := dst.iot.ListThings(t.Context(), &iot.ListThingsInput{}); err != nil || len(list.Things) > 0 {
		t.Fatalf("a dry run made %d things, %v", len(list.Things), err)
	}
	run(true, append(plan, "created"))
	f.check(t, dst, bucket)
	if out := runIn(t, t.TempDir(), env, binSekisho(t), "import", "aws", "--profile", "reader", "--rate", "2000"); strings.Contains(out, "\ncreate") {
		t.Errorf("a role that may read sees something else:\n%s", out)
	}
	run(true, []string{"\nall             0        "})
	if out := runIn(t, t.TempDir(), env, binSekisho(t), "import", "aws", "--profile", "plant", "--rate", "2000", "--dry-run"); strings.Contains(out, "\ncreate") {
		t.Errorf("a second run would make something:\n%s", out)
	}

	// What differs at the target is told, and left.
	_, err := dst.iot.UpdateThing(t.Context(), &iot.UpdateThingInput{ThingName: aws.String("thing-007"), AttributePayload: &iottypes.AttributePayload{Attributes: map[string]string{"number": "8"}}})
	check(t, err)
	_, err = dst.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &f.active.certID, NewStatus: iottypes.CertificateStatusRevoked})
	check(t, err)
	_, err = dst.iot.DeleteThing(t.Context(), &iot.DeleteThingInput{ThingName: aws.String("thing-008")})
	check(t, err)
	gone := f.ids[iottypes.CertificateStatusInactive]
	_, err = dst.iot.DetachThingPrincipal(t.Context(), &iot.DetachThingPrincipalInput{ThingName: aws.String("thing-001"), Principal: aws.String(arnIoT("cert/" + gone))})
	check(t, err)
	_, err = dst.iot.DeleteCertificate(t.Context(), &iot.DeleteCertificateInput{CertificateId: &gone, ForceDelete: true})
	check(t, err)
	run(false, []string{
		"skip      certificate " + gone + ": it was deleted at the target; register it by hand if it is to come back\n",
		"differs   thing thing-007: its attributes are others\n", "differs   certificate " + f.active.certID + ": it is REVOKED, and ACTIVE at the source\n", "create    thing thing-008\n",
	})
	have, err := dst.iot.DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: aws.String("thing-007")})
	check(t, err)
	if have.Attributes["number"] != "8" {
		t.Error("a thing that differs was changed")
	}
	if _, err := f.active.fetch(t.Context(), f.alias); err == nil {
		t.Error("a certificate that was revoked here came back")
	}

	for _, bad := range [][]string{{"--profile", "none"}, {"--profile", "empty"}, {}, {"--profile", "plant", "--rate", "0"}} {
		if _, errOut, err := try(t, t.TempDir(), env, binSekisho(t), append([]string{"import", "aws"}, bad...)...); err == nil || errOut == "" {
			t.Errorf("import %v: %v %q", bad, err, errOut)
		}
	}
}

// check sees that the target is what the source was, in its own terms.
func (f *fleetToMove) check(t *testing.T, dst *server, bucket string) {
	t.Helper()
	ctx := t.Context()
	f.active.s = dst
	for status, id := range f.ids {
		d, err := dst.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
		check(t, err)
		if d.CertificateDescription.Status != status {
			t.Errorf("%s is %s", status, d.CertificateDescription.Status)
		}
	}
	d, err := dst.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &f.ofCA})
	check(t, err)
	if aws.ToString(d.CertificateDescription.CaCertificateId) == "" {
		t.Error("a certificate of a registered CA was registered without it")
	}
	role, err := dst.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &f.role})
	check(t, err)
	if r := role.Role; *r.Arn != "arn:aws:iam::000000000000:role/fleet/uploader" || *r.MaxSessionDuration != 7200 || len(r.Tags) != 1 ||
		r.PermissionsBoundary == nil || *r.PermissionsBoundary.PermissionsBoundaryArn != "arn:aws:iam::000000000000:policy/edge" || strings.Contains(*r.AssumeRolePolicyDocument, sourceAccount) {
		t.Errorf("%+v", r)
	}
	attached, err := dst.iam.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &f.role})
	check(t, err)
	var arns []string
	for _, p := range attached.AttachedPolicies {
		arns = append(arns, *p.PolicyArn)
	}
	slices.Sort(arns)
	if !slices.Equal(arns, []string{"arn:aws:iam::000000000000:policy/fleet/list", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}) {
		t.Errorf("%v", arns)
	}
	p, err := dst.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &f.policy})
	check(t, err)
	if *p.DefaultVersionId != "2" || !strings.Contains(*p.PolicyDocument, "arn:aws:iot:"+region+":000000000000:rolealias/upload") {
		t.Errorf("%s: %s", *p.DefaultVersionId, *p.PolicyDocument)
	}
	if f.types {
		thing, err := dst.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("thing-000")})
		check(t, err)
		if aws.ToString(thing.ThingTypeName) != "pump" {
			t.Errorf("%+v", thing)
		}
	}
	c := s3.NewFromConfig(dst.config(f.active.session(t, f.alias)), pathStyle)
	_, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("thing-000/f"), Body: strings.NewReader("moved")})
	check(t, err)
	if _, err = c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("thing-001/f"), Body: strings.NewReader("moved")}); err == nil {
		t.Error("the device may write to another's prefix")
	}
}

// binSekisho is the path of bin/sekisho.
func binSekisho(t *testing.T) string {
	t.Helper()
	bin, err := process.Binary()
	check(t, err)
	return bin
}
