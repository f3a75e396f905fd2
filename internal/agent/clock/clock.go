// Package clock is the server's time as a device knows it: its own clock, which
// may be off, and by how much the server said that it is.
package clock

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"
)

// tolerance is how far beyond its dates a server's certificate is still taken:
// a device whose clock is off by a day must reach the server to learn that it is.
const tolerance = 48 * time.Hour

// Clock is the device's clock, corrected. It is safe for concurrent use.
type Clock struct {
	local  func() time.Time
	offset atomic.Int64 // server minus device, in nanoseconds
}

// New returns a clock that is taken to be right until it is set.
func New(local func() time.Time) *Clock { return &Clock{local: local} }

// Local is the device's own time.
func (c *Clock) Local() time.Time { return c.local() }

// Now is the server's time. It is what certificates are judged at.
func (c *Clock) Now() time.Time { return c.local().Add(c.Offset()) }

// Offset is the server's time minus the device's.
func (c *Clock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// SetOffset says what the server's time minus the device's is.
func (c *Clock) SetOffset(d time.Duration) { c.offset.Store(int64(d)) }

// Forgive looks at why a TLS handshake failed. If nothing was wrong but the
// time, and the clock off by 48 hours or less would explain it, the clock is set
// to the nearest moment at which the server's certificate is valid, and
// the handshake is worth another try; its answer should carry the right time.
func (c *Clock) Forgive(err error) bool {
	seen, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(seen.UnverifiedCertificates) == 0 {
		return false
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || invalid.Reason != x509.Expired {
		return false
	}
	leaf, local := seen.UnverifiedCertificates[0], c.local()
	nearest := local
	switch {
	case local.Before(leaf.NotBefore):
		nearest = leaf.NotBefore
	case local.After(leaf.NotAfter):
		nearest = leaf.NotAfter
	}
	offset := nearest.Sub(local)
	if offset.Abs() > tolerance || offset == c.Offset() {
		return false
	}
	c.SetOffset(offset)
	return true
}
