package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Documents that the main job needs.
const (
	TrustDevices = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	OwnPrefix    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject","s3:DeleteObject","s3:AbortMultipartUpload","s3:ListMultipartUploadParts"],"Resource":"arn:aws:s3:::fleet/${credentials-iot:ThingName}/*"}]}`
	AssumeAlias  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"*"}]}`
)

// Names of what Fleet makes.
const (
	Bucket = "fleet"
	Role   = "fleet-role"
	Alias  = "fleet-alias"
	Policy = "fleet-policy"
)

// Fleet makes a bucket, a role for each device's own prefix of it, an alias of
// that role and an IoT policy that allows any alias.
func (s *Server) Fleet() {
	s.tb.Helper()
	ctx := s.tb.Context()
	arn := s.NewRole(Role, TrustDevices, OwnPrefix)
	_, err := s.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(Bucket), CreateBucketConfiguration: location()})
	s.ok(err)
	_, err = s.IoT.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: aws.String(Alias), RoleArn: aws.String(arn)})
	s.ok(err)
	_, err = s.IoT.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String(Policy), PolicyDocument: aws.String(AssumeAlias)})
	s.ok(err)
}

// NewRole makes a role with an inline policy called "main" and returns its ARN.
func (s *Server) NewRole(name, trust, document string) string {
	s.tb.Helper()
	out, err := s.IAM.CreateRole(s.tb.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	s.ok(err)
	_, err = s.IAM.PutRolePolicy(s.tb.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("main"), PolicyDocument: &document})
	s.ok(err)
	return *out.Role.Arn
}

// NewUser makes a user with an inline policy and returns its access key.
func (s *Server) NewUser(name, document string) aws.CredentialsProvider {
	s.tb.Helper()
	ctx := s.tb.Context()
	_, err := s.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name})
	s.ok(err)
	_, err = s.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("main"), PolicyDocument: &document})
	s.ok(err)
	out, err := s.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	s.ok(err)
	return credentials.NewStaticCredentialsProvider(*out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey, "")
}

func (s *Server) ok(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatal(err)
	}
}

// Device is a thing with a certificate that is active and attached to it.
type Device struct {
	Thing          string
	CertificateID  string
	CertificateARN string
	Certificate    tls.Certificate

	s    *Server
	http *http.Client
}

// Enrol registers a thing with a P-256 certificate and the fleet's policy.
func (s *Server) Enrol(thing string) *Device {
	s.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.ok(err)
	_, err = s.IoT.CreateThing(s.tb.Context(), &iot.CreateThingInput{ThingName: &thing})
	s.ok(err)
	return s.enrol(thing, key)
}

// EnrolAgain gives the thing of d another certificate for the same key.
func (s *Server) EnrolAgain(d *Device) *Device {
	s.tb.Helper()
	return s.enrol(d.Thing, d.Certificate.PrivateKey)
}

func (s *Server) enrol(thing string, key any) *Device {
	s.tb.Helper()
	ctx := s.tb.Context()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: thing}}, key)
	s.ok(err)
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	made, err := s.IoT.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr, SetAsActive: true})
	s.ok(err)
	block, _ := pem.Decode([]byte(*made.CertificatePem))
	d := &Device{
		Thing: thing, CertificateID: *made.CertificateId, CertificateARN: *made.CertificateArn, s: s,
		Certificate: tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key},
	}
	_, err = s.IoT.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: made.CertificateArn})
	s.ok(err)
	_, err = s.IoT.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String(Policy), Target: made.CertificateArn})
	s.ok(err)
	d.http = d.client(d.TLS())
	return d
}

// Known is a device of another server as one of this one, which knows its
// certificate from a backup.
func (s *Server) Known(d *Device) *Device {
	s.tb.Helper()
	known := *d
	known.s = s
	known.http = known.client(known.TLS())
	return &known
}

// TLS is how the device speaks to the device port.
func (d *Device) TLS() *tls.Config {
	c := d.s.TLS()
	c.Certificates = []tls.Certificate{d.Certificate}
	return c
}

// DialMQTT opens a connection to the MQTT port, its handshake done and nothing
// sent. What protocols it offers is for the caller to say.
func (d *Device) DialMQTT(protocols ...string) *tls.Conn {
	d.s.tb.Helper()
	c := d.TLS()
	c.NextProtos = protocols
	conn, err := (&tls.Dialer{Config: c}).DialContext(d.s.tb.Context(), "tcp", d.s.MQTTAddr())
	d.s.ok(err)
	d.s.tb.Cleanup(func() { _ = conn.Close() })
	return conn.(*tls.Conn) //nolint:forcetypeassert // what a tls.Dialer gives
}

func (d *Device) client(c *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: c}
	d.s.tb.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// Answer is what the credential endpoint said.
type Answer struct {
	Status      int
	Message     string
	Credentials aws.CredentialsProvider // nil but for 200
}

// Ask asks for credentials as this device, on one kept-alive connection. Header
// lines are name and value by turns; without any, the thing's name is sent.
func (d *Device) Ask(alias string, header ...string) Answer {
	d.s.tb.Helper()
	if len(header) == 0 {
		header = []string{"x-amzn-iot-thingname", d.Thing}
	}
	return d.ask(d.http, alias, header)
}

// AskOver is Ask with TLS of its own, on a new connection.
func (d *Device) AskOver(c *tls.Config, alias string, header ...string) Answer {
	d.s.tb.Helper()
	return d.ask(d.client(c), alias, header)
}

func (d *Device) ask(c *http.Client, alias string, header []string) Answer {
	d.s.tb.Helper()
	r, err := http.NewRequestWithContext(d.s.tb.Context(), http.MethodGet, "https://"+d.s.DeviceAddr()+"/role-aliases/"+alias+"/credentials", http.NoBody)
	d.s.ok(err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		return Answer{Message: err.Error()}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	d.s.ok(err)
	var said struct {
		Message     string
		Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	}
	d.s.ok(json.Unmarshal(body, &said))
	a := Answer{Status: res.StatusCode, Message: said.Message}
	if k := said.Credentials; k.AccessKeyID != "" {
		a.Credentials = credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken)
	}
	return a
}

// Session is Ask that must succeed.
func (d *Device) Session() aws.CredentialsProvider {
	d.s.tb.Helper()
	a := d.Ask(Alias)
	if a.Credentials == nil {
		d.s.tb.Fatalf("no credentials for %s: %d %s", d.Thing, a.Status, a.Message)
	}
	return a.Credentials
}

// Stranger is a device with a certificate that nobody registered for it.
func (s *Server) Stranger(cert tls.Certificate) *Device {
	s.tb.Helper()
	sum := sha256.Sum256(cert.Certificate[0])
	id := hex.EncodeToString(sum[:])
	d := &Device{
		CertificateID: id, CertificateARN: "arn:aws:iot:" + Region + ":" + Account + ":cert/" + id, Certificate: cert, s: s,
	}
	d.http = d.client(d.TLS())
	return d
}

// Adopt makes a thing for a device whose certificate is registered, and gives
// it the fleet's policy.
func (d *Device) Adopt(thing string) {
	d.s.tb.Helper()
	ctx := d.s.tb.Context()
	d.Thing = thing
	_, err := d.s.IoT.CreateThing(ctx, &iot.CreateThingInput{ThingName: &thing})
	d.s.ok(err)
	_, err = d.s.IoT.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &thing, Principal: &d.CertificateARN})
	d.s.ok(err)
	_, err = d.s.IoT.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String(Policy), Target: &d.CertificateARN})
	d.s.ok(err)
}
