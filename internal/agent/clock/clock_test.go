package clock_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/clock"
)

// Nothing is forgiven but a time that a clock off by two days explains.
func TestForgive(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	failed := func(from, to time.Duration, err error) error {
		return fmt.Errorf("dial: %w", &tls.CertificateVerificationError{
			UnverifiedCertificates: []*x509.Certificate{{NotBefore: at.Add(from), NotAfter: at.Add(to)}}, Err: err,
		})
	}
	expired := x509.CertificateInvalidError{Reason: x509.Expired}
	for name, c := range map[string]struct {
		err    error
		offset time.Duration
		want   bool
	}{
		"a day behind":        {failed(24*time.Hour, 48*time.Hour, expired), 24 * time.Hour, true},
		"a day ahead":         {failed(-48*time.Hour, -24*time.Hour, expired), -24 * time.Hour, true},
		"three days behind":   {failed(72*time.Hour, 96*time.Hour, expired), 0, false},
		"three days ahead":    {failed(-96*time.Hour, -72*time.Hour, expired), 0, false},
		"an intermediate":     {failed(-time.Hour, time.Hour, expired), 0, false},
		"another reason":      {failed(24*time.Hour, 48*time.Hour, x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}), 0, false},
		"unknown authority":   {failed(24*time.Hour, 48*time.Hour, x509.UnknownAuthorityError{}), 0, false},
		"another name":        {failed(24*time.Hour, 48*time.Hour, x509.HostnameError{Certificate: &x509.Certificate{}}), 0, false},
		"no handshake at all": {errors.New("refused"), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := clock.New(func() time.Time { return at })
			if got := k.Forgive(c.err); got != c.want || k.Offset() != c.offset || !k.Now().Equal(at.Add(c.offset)) || !k.Local().Equal(at) {
				t.Errorf("%t, offset %s", got, k.Offset())
			}
			if k.Forgive(c.err) {
				t.Error("forgiven twice")
			}
		})
	}
}
