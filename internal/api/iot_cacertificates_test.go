package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/pki"
)

// foreignCA signs for tests; its certificates are in PEM.
type foreignCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  *string
}

func newForeignCA(t *testing.T) *foreignCA {
	t.Helper()
	c := &foreignCA{t: t}
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	c.cert, c.pem = c.sign(tmpl, tmpl)
	return c
}

func (c *foreignCA) sign(tmpl, parent *x509.Certificate) (*x509.Certificate, *string) {
	c.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, c.key.Public(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert, aws.String(pki.EncodePEM(der))
}

func (c *foreignCA) issue(name string) *string {
	c.t.Helper()
	_, text := c.sign(&x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().AddDate(1, 0, 0)}, c.cert)
	return text
}

func TestIoTCACertificates(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	ca := newForeignCA(t)
	code := must[*iot.GetRegistrationCodeOutput](t)(c.GetRegistrationCode(ctx, &iot.GetRegistrationCodeInput{})).RegistrationCode
	in := &iot.RegisterCACertificateInput{CaCertificate: ca.pem, VerificationCertificate: ca.issue("other"), Tags: []types.Tag{{Key: aws.String("site"), Value: aws.String("x")}}}
	_, err := c.RegisterCACertificate(ctx, in)
	wantError(t, "code", err, 400, "RegistrationCodeValidationException")
	in.VerificationCertificate = nil
	_, err = c.RegisterCACertificate(ctx, in)
	wantError(t, "no proof", err, 400, "InvalidRequestException")
	in.VerificationCertificate = ca.issue(*code)
	in.RegistrationConfig = &types.RegistrationConfig{TemplateName: aws.String("t")}
	_, err = c.RegisterCACertificate(ctx, in)
	wantError(t, "template", err, 501, "NotImplemented")
	in.RegistrationConfig = nil
	made := must[*iot.RegisterCACertificateOutput](t)(c.RegisterCACertificate(ctx, in))
	if *made.CertificateArn != iotARN+"cacert/"+*made.CertificateId {
		t.Errorf("%+v", made)
	}
	_, err = c.RegisterCACertificate(ctx, in)
	wantError(t, "twice", err, 409, "ResourceAlreadyExistsException")
	if e, ok := errors.AsType[*types.ResourceAlreadyExistsException](err); !ok || aws.ToString(e.ResourceId) != *made.CertificateId || aws.ToString(e.ResourceArn) != *made.CertificateArn {
		t.Errorf("%+v", e)
	}
	_, err = c.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{CaCertificate: ca.issue("no CA"), CertificateMode: types.CertificateModeSniOnly})
	wantError(t, "no CA", err, 400, "CertificateValidationException")
	if l := must[*iot.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: made.CertificateArn})); len(l.Tags) != 1 {
		t.Errorf("%v", l.Tags)
	}
	d := must[*iot.DescribeCACertificateOutput](t)(c.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: made.CertificateId})).CertificateDescription
	if d.Status != types.CACertificateStatusInactive || d.AutoRegistrationStatus != types.AutoRegistrationStatusDisable || d.CertificateMode != types.CertificateModeDefault ||
		*d.CertificatePem != *ca.pem || *d.OwnedBy != iotAccount || d.Validity.NotAfter.Year() != time.Now().Year()+1 {
		t.Errorf("%+v", d)
	}
	update := func(in iot.UpdateCACertificateInput) error {
		in.CertificateId = made.CertificateId
		_, err := c.UpdateCACertificate(ctx, &in)
		return err
	}
	if err := update(iot.UpdateCACertificateInput{NewStatus: types.CACertificateStatusActive, NewAutoRegistrationStatus: types.AutoRegistrationStatusEnable}); err != nil {
		t.Error(err)
	}
	wantError(t, "both", update(iot.UpdateCACertificateInput{NewAutoRegistrationStatus: types.AutoRegistrationStatusEnable, RemoveAutoRegistration: true}), 400, "InvalidRequestException")
	wantError(t, "template", update(iot.UpdateCACertificateInput{RegistrationConfig: &types.RegistrationConfig{TemplateBody: aws.String("{}")}}), 501, "NotImplemented")
	wantError(t, "status", update(iot.UpdateCACertificateInput{NewStatus: "REVOKED"}), 400, "InvalidRequestException")
	wantError(t, "auto", update(iot.UpdateCACertificateInput{NewAutoRegistrationStatus: "ON"}), 400, "InvalidRequestException")
	if err := update(iot.UpdateCACertificateInput{RemoveAutoRegistration: true}); err != nil {
		t.Error(err)
	}
	if l := must[*iot.ListCACertificatesOutput](t)(c.ListCACertificates(ctx, &iot.ListCACertificatesInput{})); len(l.Certificates) != 1 || l.Certificates[0].Status != types.CACertificateStatusActive || l.NextMarker != nil {
		t.Errorf("%+v", l)
	}
	if l := must[*iot.ListCACertificatesOutput](t)(c.ListCACertificates(ctx, &iot.ListCACertificatesInput{TemplateName: aws.String("t")})); len(l.Certificates) != 0 {
		t.Errorf("with a template: %+v", l)
	}
	_, err = c.DeleteCACertificate(ctx, &iot.DeleteCACertificateInput{CertificateId: made.CertificateId})
	wantError(t, "active", err, 406, "CertificateStateException")
	if err := update(iot.UpdateCACertificateInput{NewStatus: types.CACertificateStatusInactive}); err != nil {
		t.Error(err)
	}
	must[*iot.DeleteCACertificateOutput](t)(c.DeleteCACertificate(ctx, &iot.DeleteCACertificateInput{CertificateId: made.CertificateId}))
	_, err = c.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: made.CertificateId})
	wantError(t, "deleted", err, 404, "ResourceNotFoundException")
	must[*iot.DeleteRegistrationCodeOutput](t)(c.DeleteRegistrationCode(ctx, &iot.DeleteRegistrationCodeInput{}))
	_, err = c.DeleteRegistrationCode(ctx, &iot.DeleteRegistrationCodeInput{})
	wantError(t, "no code", err, 404, "ResourceNotFoundException")
}

func TestIoTRegisterCertificate(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	ca := newForeignCA(t)
	text := ca.issue("pump")
	_, err := c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: text})
	wantError(t, "no CA", err, 400, "CertificateValidationException")
	made := must[*iot.RegisterCACertificateOutput](t)(c.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{CaCertificate: ca.pem, CertificateMode: types.CertificateModeSniOnly}))
	_, err = c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: text})
	wantError(t, "inactive CA", err, 406, "CertificateStateException")
	must[*iot.UpdateCACertificateOutput](t)(c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: made.CertificateId, NewStatus: types.CACertificateStatusActive}))
	_, err = c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: text, SetAsActive: aws.Bool(true), Status: types.CertificateStatusInactive}) //nolint:staticcheck // deprecated, and still there
	wantError(t, "contradiction", err, 400, "InvalidRequestException")
	cert := must[*iot.RegisterCertificateOutput](t)(c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: text, CaCertificatePem: ca.pem, SetAsActive: aws.Bool(true)})) //nolint:staticcheck // deprecated, and still there
	d := must[*iot.DescribeCertificateOutput](t)(c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: cert.CertificateId})).CertificateDescription
	if d.Status != types.CertificateStatusActive || *d.CaCertificateId != *made.CertificateId || d.CertificateMode != types.CertificateModeSniOnly || *d.CertificateArn != *cert.CertificateArn {
		t.Errorf("%+v", d)
	}
	_, err = c.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: text})
	wantError(t, "twice", err, 409, "ResourceAlreadyExistsException")
	if e, ok := errors.AsType[*types.ResourceAlreadyExistsException](err); !ok || aws.ToString(e.ResourceId) != *cert.CertificateId || aws.ToString(e.ResourceArn) != *cert.CertificateArn {
		t.Errorf("%+v", e)
	}
	_, err = c.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: text, Status: types.CertificateStatusPendingTransfer})
	wantError(t, "status", err, 400, "InvalidRequestException")
	_, err = c.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: aws.String("x")})
	wantError(t, "garbage", err, 400, "CertificateValidationException")
	alone := must[*iot.RegisterCertificateWithoutCAOutput](t)(c.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: ca.issue("alone")}))
	if l := must[*iot.ListCertificatesByCAOutput](t)(c.ListCertificatesByCA(ctx, &iot.ListCertificatesByCAInput{CaCertificateId: made.CertificateId})); len(l.Certificates) != 1 || *l.Certificates[0].CertificateId != *cert.CertificateId {
		t.Errorf("%+v", l)
	}
	d = must[*iot.DescribeCertificateOutput](t)(c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: alone.CertificateId})).CertificateDescription
	if d.Status != types.CertificateStatusInactive || d.CaCertificateId != nil {
		t.Errorf("%+v", d)
	}
	// One more CA of the same key: which one is meant has to be said.
	twin, text2 := *ca, (*string)(nil)
	tmpl := *ca.cert
	tmpl.SerialNumber = big.NewInt(5)
	twin.cert, text2 = ca.sign(&tmpl, &tmpl)
	must[*iot.RegisterCACertificateOutput](t)(c.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{CaCertificate: text2, CertificateMode: types.CertificateModeSniOnly, SetAsActive: true}))
	_, err = c.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: ca.issue("third")})
	wantError(t, "ambiguous", err, 409, "CertificateConflictException")
}

// A deny on one CA certificate, or on a tag, holds for every spelling of its id.
func TestIoTCACertificatesAreAuthorized(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	root, ctx := s.client(t, "root", ""), t.Context()
	ca := newForeignCA(t)
	made := must[*iot.RegisterCACertificateOutput](t)(root.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{CaCertificate: ca.pem, CertificateMode: types.CertificateModeSniOnly}))
	c := s.client(t, "ann", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"`+*made.CertificateArn+`"},
		{"Effect":"Deny","Action":"iot:RegisterCACertificate","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/site":"x"}}}]}`)
	for _, id := range []string{*made.CertificateId, strings.ToUpper(*made.CertificateId)} {
		_, err := c.DescribeCACertificate(ctx, &iot.DescribeCACertificateInput{CertificateId: &id})
		wantError(t, "describe "+id, err, 403, "AccessDeniedException")
		_, err = c.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &id, NewStatus: types.CACertificateStatusActive})
		wantError(t, "update "+id, err, 403, "AccessDeniedException")
		_, err = c.DeleteCACertificate(ctx, &iot.DeleteCACertificateInput{CertificateId: &id})
		wantError(t, "delete "+id, err, 403, "AccessDeniedException")
	}
	_, err := c.RegisterCACertificate(ctx, &iot.RegisterCACertificateInput{CaCertificate: newForeignCA(t).pem, CertificateMode: types.CertificateModeSniOnly, Tags: []types.Tag{{Key: aws.String("site"), Value: aws.String("x")}}})
	wantError(t, "tag", err, 403, "AccessDeniedException")
	nobody := s.client(t, "nobody", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
	for what, call := range map[string]func() error{
		"code": func() error { _, err := nobody.GetRegistrationCode(ctx, &iot.GetRegistrationCodeInput{}); return err },
		"delete code": func() error {
			_, err := nobody.DeleteRegistrationCode(ctx, &iot.DeleteRegistrationCodeInput{})
			return err
		},
		"list": func() error { _, err := nobody.ListCACertificates(ctx, &iot.ListCACertificatesInput{}); return err },
		"by CA": func() error {
			_, err := nobody.ListCertificatesByCA(ctx, &iot.ListCertificatesByCAInput{CaCertificateId: made.CertificateId})
			return err
		},
		"register": func() error {
			_, err := nobody.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: ca.pem})
			return err
		},
		"without CA": func() error {
			_, err := nobody.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{CertificatePem: ca.pem})
			return err
		},
	} {
		wantError(t, what, call(), 403, "AccessDeniedException")
	}
}
