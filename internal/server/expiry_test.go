package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

// register registers a certificate of somebody else that ends at a time.
func (w *world) register(end time.Time, status pki.Status) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ok(err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a"}, NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	w.ok(err)
	_, err = w.certificates.RegisterWithoutCA(w.t.Context(), &pki.Registration{Certificate: pki.EncodePEM(der), Status: status})
	w.ok(err)
}

// Certificates that are about to end are counted, and told of when there are
// more of them, or a day later.
func TestExpiryWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, err := w.authority.Server([]string{"localhost"}, "eu-west-1")
	w.ok(err)
	metrics := telemetry.NewMetrics("test")
	watch := &expiryWatch{
		certificates: w.certificates, authority: w.authority, own: own, shown: own.Certificate,
		figures: metrics.Certificates(), log: w.server.log, now: w.now,
	}
	begin := w.now()
	for _, in := range []time.Duration{-time.Hour, 12 * time.Hour, 5 * day, 6 * day, 20 * day, 60 * day} {
		w.register(begin.Add(in), pki.Active)
	}
	w.register(begin.Add(time.Hour), pki.Inactive)
	w.enrol("forever", allowConnect)
	check := func(want ...string) {
		t.Helper()
		before := len(w.said())
		watch.check(t.Context())
		var got []string
		for line := range strings.Lines(w.said()[before:]) {
			for _, word := range []string{`"within":"0d"`, `"within":"1d"`, `"within":"7d"`, `"within":"30d"`, "a certificate of this server", "could not"} {
				if strings.Contains(line, word) {
					got = append(got, word)
				}
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("logged %v, want %v", got, want)
		}
	}
	figures := func(want ...string) {
		t.Helper()
		r := httptest.NewRecorder()
		metrics.Handler().ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
		for _, line := range want {
			if !strings.Contains(r.Body.String(), line+"\n") {
				t.Errorf("%s is missing in %s", line, r.Body.String())
			}
		}
	}
	check(`"within":"0d"`, `"within":"1d"`, `"within":"7d"`, `"within":"30d"`)
	figures(
		`sekisho_device_certificates_expiring{within="0d"} 1`, `sekisho_device_certificates_expiring{within="1d"} 2`,
		`sekisho_device_certificates_expiring{within="7d"} 4`, `sekisho_device_certificates_expiring{within="30d"} 5`,
		`sekisho_certificate_not_after_seconds{certificate="root-ca"} 2.524607999e+09`, `sekisho_certificate_not_after_seconds{certificate="devices-ca"} 2.524607999e+09`,
	)
	check()
	w.pass(13 * time.Hour) // the one of twelve hours has ended
	check(`"within":"0d"`)
	figures(`sekisho_device_certificates_expiring{within="0d"} 2`, `sekisho_device_certificates_expiring{within="1d"} 2`)
	w.register(w.now().Add(3*day), pki.Active)
	check(`"within":"7d"`)
	w.pass(12 * time.Hour)
	check(`"within":"30d"`) // a day has gone by
	before, err := own.Certificate(nil)
	w.ok(err)
	w.pass(300 * day)
	check(`"within":"0d"`)
	after, err := own.Certificate(nil)
	w.ok(err)
	if after == before {
		t.Error("the server's certificate was not renewed")
	}
	w.pass(time.Date(2049, 12, 10, 0, 0, 0, 0, time.UTC).Sub(w.now()))
	check("a certificate of this server", "a certificate of this server", "a certificate of this server", "a certificate of this server", `"within":"0d"`, `"within":"30d"`)
}
