package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TLS is how the device speaks to its server: with its certificate, and to
// nobody whom the root CA does not vouch for. Certificates are judged at now.
func (c *Config) TLS(now func() time.Time) (*tls.Config, error) {
	pair, err := c.keyPair()
	if err != nil {
		return nil, err
	}
	t, err := c.ServerTLS(now)
	if err != nil {
		return nil, err
	}
	// Shown whatever CAs the server names: it knows a certificate by its bytes.
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	return t, nil
}

// ServerTLS is TLS without the device's certificate, as S3 is spoken to.
func (c *Config) ServerTLS(now func() time.Time) (*tls.Config, error) {
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Time: now}, nil
}

// Leaf is the device's own certificate.
func (c *Config) Leaf() (*x509.Certificate, error) {
	pair, err := c.keyPair()
	if err != nil {
		return nil, err
	}
	return pair.Leaf, nil
}

func (c *Config) keyPair() (*tls.Certificate, error) {
	cert, err := readPEM("certificate", c.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := readPEM("privateKey", c.PrivateKey)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		return &pair, nil
	case strings.Contains(err.Error(), "does not match"):
		return nil, fmt.Errorf("%s is not the key of %s: put the pair there that was made together", c.PrivateKey, c.Certificate)
	case !holds(cert, "CERTIFICATE"):
		return nil, fmt.Errorf("%s holds no PEM certificate: copy it to the device again", c.Certificate)
	case !holds(key, "PRIVATE KEY"):
		return nil, fmt.Errorf("%s holds no PEM private key: copy it to the device again", c.PrivateKey)
	}
	return nil, fmt.Errorf("%s with %s: %w", filepath.Base(c.Certificate), filepath.Base(c.PrivateKey), err)
}

func (c *Config) roots() (*x509.CertPool, error) {
	if c.RootCA == "" {
		return nil, nil //nolint:nilnil // nil is the system's
	}
	b, err := readPEM("rootCa", c.RootCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no PEM certificate: copy the server's root-ca.pem to the device again", c.RootCA)
	}
	return pool, nil
}

func readPEM(key, path string) ([]byte, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the file that device.json names
	if err != nil {
		return nil, fmt.Errorf("%q of device.json: %w", key, err)
	}
	return b, nil
}

func holds(b []byte, kind string) bool {
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
		b = rest
	}
}
