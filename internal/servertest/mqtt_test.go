package servertest_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// Who shows no certificate that is in use is sent away before it says anything,
// and the operator hears why.
func TestSecurityRule3_MQTTImpostors(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	revoked, deleted := s.Enrol("revoked"), s.Enrol("deleted")
	_, err := s.IoT.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{
		CertificateId: &revoked.CertificateID, NewStatus: iottypes.CertificateStatusRevoked,
	})
	must(t, err)
	_, err = s.IoT.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{
		CertificateId: &deleted.CertificateID, NewStatus: iottypes.CertificateStatusInactive,
	})
	must(t, err)
	_, err = s.IoT.DetachThingPrincipal(t.Context(), &iot.DetachThingPrincipalInput{ThingName: aws.String("deleted"), Principal: &deleted.CertificateARN})
	must(t, err)
	_, err = s.IoT.DeleteCertificate(t.Context(), &iot.DeleteCertificateInput{CertificateId: &deleted.CertificateID, ForceDelete: true})
	must(t, err)
	for _, c := range []struct {
		name, why, reason string
		conf              *tls.Config
	}{
		{"no certificate", "the client showed no certificate", "no_certificate", s.TLS()},
		{"a revoked one", "the certificate is REVOKED", "unusable_certificate", revoked.TLS()},
		{"a deleted one", "the certificate is not registered", "unknown_certificate", deleted.TLS()},
	} {
		for _, addr := range []string{s.MQTTAddr(), s.DeviceAddr()} {
			c.conf.NextProtos = []string{"x-amzn-mqtt-ca"}
			conn, err := (&tls.Dialer{Config: c.conf}).DialContext(t.Context(), "tcp", addr)
			must(t, err)
			must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
				t.Errorf("%s on %s: read %q, %v", c.name, addr, b, err)
			}
			_ = conn.Close()
		}
		if said := s.Log.String(); !strings.Contains(said, `"msg":"mqtt refused"`) || !strings.Contains(said, c.why) {
			t.Errorf("%s: the log does not say %q", c.name, c.why)
		}
		if figures := metrics(t, s); !strings.Contains(figures, `sekisho_mqtt_connects_refused_total{reason="`+c.reason+`"} 2`) {
			t.Errorf("%s: not counted as %q", c.name, c.reason)
		}
	}
}

// metrics is what the server exposes to Prometheus.
func metrics(t *testing.T, s *servertest.Server) string {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: s.TLS()}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.APIAddr()+"/_sekisho/metrics", http.NoBody)
	must(t, err)
	res, err := tr.RoundTrip(r)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return string(b)
}
