package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// getCertificate returns the certificate of one handshake.
type getCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// apiTLS is for the API port, where clients prove themselves by signatures.
func apiTLS(get getCertificate) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: get,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// deviceTLS asks for a certificate, but demands none and names no CAs: who is
// behind the port answers for itself what it thinks of the one it is shown.
// There are no tickets, so that every connection shows a certificate anew. A
// record holds as much as it can: the broker writes once for many packets.
func deviceTLS(get getCertificate, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		GetCertificate:              get,
		NextProtos:                  protocols,
		ClientAuth:                  tls.RequestClientCert,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}
}

// certificateFiles is the operator's own certificate, read again when its files change.
type certificateFiles struct {
	cert, key string
	now       func() time.Time
	log       *slog.Logger

	mu       sync.Mutex // guards the fields below
	failed   string     // why the newest could not be read; has been logged
	current  *tls.Certificate
	modified [2]time.Time
	checked  time.Time
}

// certificateCheck is how often the files are looked at.
const certificateCheck = time.Second

func openCertificateFiles(cert, key string, now func() time.Time, log *slog.Logger) (*certificateFiles, error) {
	f := &certificateFiles{cert: cert, key: key, now: now, log: log}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// load reads the files if they have changed; f.mu is held, but at the start.
func (f *certificateFiles) load() error {
	var modified [2]time.Time
	for i, name := range []string{f.cert, f.key} {
		st, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("server certificate: %w", err)
		}
		modified[i] = st.ModTime()
	}
	if f.current != nil && modified == f.modified {
		return nil
	}
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("server certificate %s: %w", f.cert, err)
	}
	f.current, f.modified = &c, modified
	return nil
}

// reload tells the operator, once, why a renewed certificate is not presented.
func (f *certificateFiles) reload(ctx context.Context) {
	before, said := f.current, f.failed
	f.failed = ""
	switch err := f.load(); {
	case err != nil:
		if f.failed = err.Error(); f.failed != said {
			f.log.ErrorContext(ctx, "the server certificate could not be read again; the old one stays", slog.Any("error", err))
		}
	case f.current != before:
		f.log.InfoContext(ctx, "server certificate renewed", slog.String("file", f.cert))
	}
}

// Certificate returns the newest pair; while the files do not fit together, the last that did.
func (f *certificateFiles) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.checked) >= certificateCheck {
		f.checked = now
		f.reload(hello.Context())
	}
	if f.current == nil {
		return nil, errors.New("no server certificate")
	}
	return f.current, nil
}
