package servertest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// plantCA is a CA that is none of ours.
type plantCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newPlantCA(t *testing.T) *plantCA {
	t.Helper()
	c := &plantCA{t: t, key: ecKey(t, elliptic.P256())}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Plant CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, c.key.Public(), c.key)
	must(t, err)
	c.cert, err = x509.ParseCertificate(der)
	must(t, err)
	return c
}

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return k
}

// issue signs a certificate of one year.
func (c *plantCA) issue(serial int64, key crypto.Signer) tls.Certificate {
	c.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "device " + strconv.FormatInt(serial, 10)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key.Public(), c.key)
	must(c.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pemOf(der []byte) *string {
	return aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// register registers the CA, active and registering automatically, and returns its id.
func (c *plantCA) register(s *servertest.Server) string {
	c.t.Helper()
	out, err := s.IoT.RegisterCACertificate(c.t.Context(), &iot.RegisterCACertificateInput{
		CaCertificate: pemOf(c.cert.Raw), CertificateMode: iottypes.CertificateModeSniOnly, SetAsActive: true, AllowAutoRegistration: true,
	})
	must(c.t, err)
	return *out.CertificateId
}

// knock tries to connect by MQTT; it reports whether it was let in.
func knock(t *testing.T, d *servertest.Device, clientID string) error {
	t.Helper()
	c := &talker{Conn: d.DialMQTT("x-amzn-mqtt-ca")}
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c.connect(clientID)
}

func statusOf(t *testing.T, s *servertest.Server, id string) string {
	t.Helper()
	out, err := s.IoT.DescribeCertificate(t.Context(), &iot.DescribeCertificateInput{CertificateId: &id})
	if err != nil {
		return servertest.Code(err)
	}
	return string(out.CertificateDescription.Status)
}

// Keys of every kind authenticate over every door, in both versions of TLS,
// whoever signed the certificate.
func TestCertificatesFromElsewhere(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	ca := newPlantCA(t)
	keys := []crypto.Signer{ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P521())}
	for _, bits := range []int{2048, 4096} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		must(t, err)
		keys = append(keys, k)
	}
	for i, key := range keys {
		d := s.Stranger(ca.issue(int64(i), key))
		out, err := s.IoT.RegisterCertificateWithoutCA(t.Context(), &iot.RegisterCertificateWithoutCAInput{
			CertificatePem: pemOf(d.Certificate.Certificate[0]), Status: iottypes.CertificateStatusActive,
		})
		must(t, err)
		if *out.CertificateId != d.CertificateID || *out.CertificateArn != d.CertificateARN {
			t.Errorf("%+v", out)
		}
		d.Adopt("thing-" + strconv.Itoa(i))
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			what := fmt.Sprintf("%T %d, %s", key, i, tls.VersionName(version))
			conf := d.TLS()
			conf.MinVersion, conf.MaxVersion = version, version
			wantAnswer(t, d.AskOver(conf, servertest.Alias), 200, "")
			if status, body := postTopic(t, s, conf, "a/b"); status != http.StatusOK {
				t.Errorf("%s: publish: %d %s", what, status, body)
			}
			conf = conf.Clone()
			conf.NextProtos = []string{"x-amzn-mqtt-ca"}
			for _, addr := range []string{s.MQTTAddr(), s.DeviceAddr()} {
				conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", addr)
				must(t, err)
				must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
				if err := (&talker{Conn: conn}).job(fmt.Sprintf("%d-%d", i, version)); err != nil {
					t.Errorf("%s: MQTT: %v", what, err)
				}
				_ = conn.Close()
			}
		}
	}
	d := s.Stranger(ca.issue(99, keys[0]))
	out, err := s.IoT.RegisterCertificateWithoutCA(t.Context(), &iot.RegisterCertificateWithoutCAInput{
		CertificatePem: pemOf(d.Certificate.Certificate[0]), Status: iottypes.CertificateStatusActive,
	})
	must(t, err)
	d.CertificateID = *out.CertificateId
	d.Adopt("late")
	wantAnswer(t, d.Ask(servertest.Alias), 200, "")
	s.Clock.Move(2 * 366 * 24 * time.Hour)
	wantAnswer(t, d.Ask(servertest.Alias), 403, badCertificate)
	if knock(t, d, "late") == nil {
		t.Error("an expired certificate connects")
	}
	if status, _ := postTopic(t, s, d.TLS(), "a/b"); status != http.StatusForbidden {
		t.Errorf("an expired certificate publishes: %d", status)
	}
}

// A certificate of a registered CA registers itself with its first connection,
// which is refused, and its event says so; activated, it is like any other.
func TestJustInTimeRegistration(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	ctx := t.Context()
	ca := newPlantCA(t)
	caID := ca.register(s)
	watcher, _ := connect(t, s.Enrol("watcher"), "watcher")
	if code := watcher.subscribe("$aws/events/certificates/registered/" + caID); code > 1 {
		t.Fatalf("SUBACK %#x", code)
	}
	told := func(d *servertest.Device) {
		t.Helper()
		first, body := watcher.packet()
		if first>>4 != byte(mqtt.TypePublish) {
			t.Fatalf("packet %x instead of the event", first)
		}
		topicEnd := 2 + int(binary.BigEndian.Uint16(body))
		_, payload, _ := bytes.Cut(body[topicEnd:], []byte("{"))
		var e map[string]any
		must(t, json.Unmarshal(append([]byte("{"), payload...), &e))
		at, ok := e["certificateRegistrationTimestamp"].(string)
		if e["certificateId"] != d.CertificateID || e["caCertificateId"] != caID || e["certificateStatus"] != "PENDING_ACTIVATION" ||
			e["awsAccountId"] != servertest.Account || !ok || len(at) != 13 || e["timestamp"].(float64) < 1e12 { //nolint:forcetypeassert // a test
			t.Errorf("event %v", e)
		}
		watcher.send((&mqtt.Ping{Type: mqtt.TypePingreq}).Append(nil, mqtt.V5)) // time is about to pass
		if first, _ := watcher.packet(); first>>4 != byte(mqtt.TypePingresp) {
			t.Fatalf("packet %x instead of PINGRESP", first)
		}
	}
	overMQTT, https := s.Stranger(ca.issue(1, ecKey(t, elliptic.P256()))), s.Stranger(ca.issue(2, ecKey(t, elliptic.P384())))
	for i, d := range []*servertest.Device{overMQTT, https} {
		thing := "thing-" + strconv.Itoa(i)
		if got := statusOf(t, s, d.CertificateID); got != "ResourceNotFoundException" {
			t.Fatal(got)
		}
		if d == https {
			wantAnswer(t, d.Ask(servertest.Alias, "x", "y"), 403, badCertificate)
		} else if knock(t, d, thing) == nil {
			t.Error("let in at its first connection")
		}
		told(d)
		out, err := s.IoT.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &d.CertificateID})
		must(t, err)
		if x := out.CertificateDescription; x.Status != iottypes.CertificateStatusPendingActivation || aws.ToString(x.CaCertificateId) != caID || x.CertificateMode != iottypes.CertificateModeSniOnly {
			t.Errorf("%+v", x)
		}
		if knock(t, d, thing) == nil {
			t.Error("let in though it waits for its activation")
		}
		s.Clock.Move(61 * time.Second)
		if knock(t, d, thing) == nil {
			t.Error("let in though it waits for its activation")
		}
		told(d) // again, since nobody did anything
		d.Adopt(thing)
		setStatus(t, s, d, iottypes.CertificateStatusActive)
		must(t, knock(t, d, thing))
		wantAnswer(t, d.Ask(servertest.Alias), 200, "")
	}
	// A CA that is not active lets nobody in, and keeps nobody out who is in.
	_, err := s.IoT.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &caID, NewStatus: iottypes.CACertificateStatusInactive})
	must(t, err)
	third := s.Stranger(ca.issue(3, ecKey(t, elliptic.P256())))
	if knock(t, third, "third") == nil || statusOf(t, s, third.CertificateID) != "ResourceNotFoundException" {
		t.Error("an inactive CA registers certificates")
	}
	must(t, knock(t, overMQTT, "thing-0"))
}

// What was revoked or deleted does not come back by itself: not with the other
// signature that ECDSA has for it, nor with its key, nor with its serial number.
func TestSecurityRule6_JustInTime(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	ctx := t.Context()
	ca := newPlantCA(t)
	caID := ca.register(s)
	key := ecKey(t, elliptic.P256())
	d := s.Stranger(ca.issue(7, key))
	leaf, err := x509.ParseCertificate(d.Certificate.Certificate[0])
	must(t, err)
	stays := func(what string, cert tls.Certificate) {
		t.Helper()
		x := s.Stranger(cert)
		before := statusOf(t, s, x.CertificateID)
		if knock(t, x, "pump") == nil {
			t.Errorf("%s connects", what)
		}
		wantAnswer(t, x.Ask(servertest.Alias, "x", "y"), 403, badCertificate)
		if status, _ := postTopic(t, s, x.TLS(), "a/b"); status != http.StatusForbidden {
			t.Errorf("%s publishes: %d", what, status)
		}
		if after := statusOf(t, s, x.CertificateID); after != before || after != "ResourceNotFoundException" && after != "REVOKED" {
			t.Errorf("%s is %s", what, after)
		}
	}
	attack := func(when string) {
		t.Helper()
		stays("itself, "+when, d.Certificate)
		stays("its twin, "+when, tls.Certificate{Certificate: [][]byte{twin(t, leaf)}, PrivateKey: key})
		stays("its key, "+when, ca.issue(8, key))
		stays("its serial, "+when, ca.issue(7, ecKey(t, elliptic.P256())))
	}
	if knock(t, d, "pump") == nil {
		t.Fatal("let in at its first connection")
	}
	d.Adopt("pump")
	setStatus(t, s, d, iottypes.CertificateStatusActive)
	must(t, knock(t, d, "pump"))
	stays("the twin of an active one", tls.Certificate{Certificate: [][]byte{twin(t, leaf)}, PrivateKey: key})
	setStatus(t, s, d, iottypes.CertificateStatusRevoked)
	attack("revoked")
	_, err = s.IoT.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
	must(t, err)
	_, err = s.IoT.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: &d.CertificateID, ForceDelete: true})
	must(t, err)
	attack("deleted")
	var said struct{ Deleted bool }
	ask := map[string]string{"certificatePem": *pemOf(leaf.Raw)}
	must(t, s.Own(http.MethodPost, "/_sekisho/certificates/deleted", ask, &said))
	if !said.Deleted {
		t.Error("an import would bring it back")
	}
	if err := s.OwnAs(s.NewUser("ann", servertest.AssumeAlias), http.MethodPost, "/_sekisho/certificates/deleted", ask, nil); err == nil {
		t.Error("anybody may ask what was deleted")
	}
	// Nor does a CA that is registered anew forget.
	_, err = s.IoT.UpdateCACertificate(ctx, &iot.UpdateCACertificateInput{CertificateId: &caID, NewStatus: iottypes.CACertificateStatusInactive})
	must(t, err)
	_, err = s.IoT.DeleteCACertificate(ctx, &iot.DeleteCACertificateInput{CertificateId: &caID})
	must(t, err)
	ca.register(s)
	attack("with the CA registered anew")
	if !strings.Contains(s.Log.String(), "certificate may not register itself") {
		t.Error("the operator hears nothing of it")
	}
	// The operator may.
	_, err = s.IoT.RegisterCertificate(ctx, &iot.RegisterCertificateInput{CertificatePem: pemOf(leaf.Raw), Status: iottypes.CertificateStatusActive})
	must(t, err)
	d.Adopt("pump")
	wantAnswer(t, d.Ask(servertest.Alias), 200, "")
}
