package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The life of a server certificate: public CAs' clients accept 398 days, and
// it is replaced when a third is left.
const (
	serverLife  = 397 * 24 * time.Hour
	serverRenew = serverLife / 3
)

// ServerCertificate is the certificate that our listeners show. It renews itself.
type ServerCertificate struct {
	authority *Authority
	dns       []string
	ips       []net.IP

	mu      sync.RWMutex // guards the fields below
	current *tls.Certificate
	renewAt time.Time
	unsaved bool // current is in memory alone
}

// Server returns the server certificate for the public hosts: the kept one, or
// a new one where its names are others or its end is near.
func (a *Authority) Server(hosts []string, region string) (*ServerCertificate, error) {
	s := &ServerCertificate{authority: a}
	s.dns, s.ips = serverNames(hosts, region)
	cert, err := tls.LoadX509KeyPair(filepath.Join(a.dir, serverCertFile), filepath.Join(a.dir, serverKeyFile))
	if err == nil && s.fits(cert.Leaf) {
		s.keep(&cert, false)
		return s, nil
	}
	// A start on a full disk has to succeed: what is wrong is said by the next Renew.
	if err := s.Renew(); err != nil && s.current == nil {
		return nil, err
	}
	return s, nil
}

// Certificate returns the certificate for a handshake, whatever name it asks for.
func (s *ServerCertificate) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.RLock()
	cert, due := s.current, !s.authority.now().Before(s.renewAt)
	s.mu.RUnlock()
	if !due {
		return cert, nil
	}
	// What is renewed and could not be kept is as good for this handshake; the
	// next call of Renew says what is wrong.
	if err := s.Renew(); err != nil && cert == nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current, nil
}

// Names returns what the certificate names, for the log.
func (s *ServerCertificate) Names() []string {
	names := slices.Clone(s.dns)
	for _, ip := range s.ips {
		names = append(names, ip.String())
	}
	return names
}

func (s *ServerCertificate) keep(c *tls.Certificate, unsaved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.renewAt, s.unsaved = c, s.renewal(c.Leaf), unsaved
}

// renewal is when a certificate is to be replaced. One that ends with its issuer
// cannot be by anything better.
func (s *ServerCertificate) renewal(c *x509.Certificate) time.Time {
	if !c.NotAfter.Before(s.authority.servers.cert.NotAfter) {
		return c.NotAfter
	}
	return c.NotAfter.Add(-serverRenew)
}

// fits reports whether a kept certificate may go on.
func (s *ServerCertificate) fits(c *x509.Certificate) bool {
	now := s.authority.now()
	sameIPs := slices.EqualFunc(c.IPAddresses, s.ips, net.IP.Equal)
	return slices.Equal(c.DNSNames, s.dns) && sameIPs &&
		!now.Before(c.NotBefore) && now.Before(s.renewal(c)) &&
		c.CheckSignatureFrom(s.authority.servers.cert) == nil
}

// Renew makes a new certificate where the end of this one is near. It is shown
// from then on, even where it cannot be written to the disk: the error says so,
// and the next call tries that again.
func (s *ServerCertificate) Renew() error {
	a := s.authority
	a.mu.Lock()
	defer a.mu.Unlock()
	s.mu.RLock()
	cert, unsaved := s.current, s.unsaved
	due := cert == nil || !a.now().Before(s.renewAt)
	s.mu.RUnlock()
	if due {
		var err error
		if cert, err = s.make(); err != nil {
			return err
		}
		s.keep(cert, true)
	} else if !unsaved {
		return nil
	}
	if err := s.write(cert); err != nil {
		return err
	}
	s.keep(cert, false)
	return nil
}

// make signs another certificate.
func (s *ServerCertificate) make() (*tls.Certificate, error) {
	a := s.authority
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.rand)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	serial, err := newSerial(a.rand)
	if err != nil {
		return nil, err
	}
	now := a.now()
	der, err := x509.CreateCertificate(a.rand, &x509.Certificate{
		SerialNumber:          serial,
		Subject:               serverSubject(s.dns[len(s.dns)-1]),
		NotBefore:             now.Add(-backdate),
		NotAfter:              earliest(now.Add(serverLife), a.servers.cert.NotAfter),
		DNSNames:              s.dns,
		IPAddresses:           s.ips,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.servers.cert, key.Public(), a.servers.key)
	if err != nil {
		return nil, fmt.Errorf("sign the server's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign the server's certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.servers.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// write puts a certificate and its key into the authority's folder.
func (s *ServerCertificate) write(cert *tls.Certificate) error {
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok { // make makes no other
		return errors.New("the server's key cannot sign")
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return fmt.Errorf("encode the server's key: %w", err)
	}
	// The key first: a certificate without its key does not load, and is made anew.
	if err := writeFile(filepath.Join(s.authority.dir, serverKeyFile), keyPEM, 0o600); err != nil {
		return fmt.Errorf("keep the server's key: %w", err)
	}
	if err := writeFile(filepath.Join(s.authority.dir, serverCertFile), encodeCertificates(cert.Certificate...), 0o644); err != nil {
		return fmt.Errorf("keep the server's certificate: %w", err)
	}
	return nil
}

// serverNames are localhost and its addresses, and for each host H: H, *.H,
// s3.REGION.H and *.s3.REGION.H. The last DNS name is the first host's, the subject.
func serverNames(hosts []string, region string) (dns []string, ips []net.IP) {
	ips = []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}
	add := func(name string) {
		if !slices.Contains(dns, name) {
			dns = append(dns, name)
		}
	}
	for _, h := range slices.Backward(hosts) {
		h = strings.ToLower(strings.TrimSuffix(h, "."))
		if ip := net.ParseIP(strings.Trim(h, "[]")); ip != nil {
			if !slices.ContainsFunc(ips, ip.Equal) {
				if v4 := ip.To4(); v4 != nil {
					ip = v4
				}
				ips = append(ips, ip)
			}
			continue
		}
		for _, name := range []string{"*.s3." + region + "." + h, "s3." + region + "." + h, "*." + h, h} {
			add(name)
		}
	}
	if !slices.Contains(dns, "localhost") {
		dns = slices.Insert(dns, 0, "localhost")
	}
	slices.SortFunc(ips[2:], func(a, b net.IP) int { return bytes.Compare(a, b) })
	return dns, ips
}

// serverSubject leaves out a common name that is longer than RFC 5280 allows.
func serverSubject(name string) pkix.Name {
	n := pkix.Name{Organization: []string{"Sekisho"}}
	if len(name) <= 64 {
		n.CommonName = name
	}
	return n
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
