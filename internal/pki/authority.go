package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// endOfTime is when certificates of devices end, as AWS IoT has it, and so
// their issuers'. See
// https://docs.aws.amazon.com/iot/latest/developerguide/x509-client-certs.html.
func endOfTime() time.Time { return time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC) }

// backdate is how far before the present a validity begins: devices' clocks lag.
const backdate = time.Hour

// Authority is the root, its intermediates, and the server's certificate.
type Authority struct {
	dir  string
	now  func() time.Time
	rand io.Reader

	root    *x509.Certificate
	servers issuer
	devices issuer

	mu sync.Mutex // serialises the writing of the server certificate's files
}

// issuer is a certificate that signs others, with its key.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// The files of an authority, in the folder pki of the data folder.
const (
	folder         = "pki"
	unfinished     = "pki.new-"
	rootCertFile   = "root-ca.pem"
	rootKeyFile    = "root-ca.key"
	serversFile    = "servers-ca"
	devicesFile    = "devices-ca"
	serverCertFile = "server.pem"
	serverKeyFile  = "server.key"
)

// Open reads the authority kept in the folder pki of a data folder, or makes
// it: all of it, or nothing.
func Open(dataDir string, now func() time.Time, rand io.Reader) (*Authority, error) {
	a := &Authority{dir: filepath.Join(dataDir, folder), now: now, rand: rand}
	if err := removeUnfinished(dataDir); err != nil {
		return nil, fmt.Errorf("clear an unfinished certificate authority: %w", err)
	}
	if _, err := os.Stat(a.dir); errors.Is(err, fs.ErrNotExist) {
		if err := a.create(dataDir); err != nil {
			return nil, fmt.Errorf("make the certificate authority: %w", err)
		}
	}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	return a, nil
}

// RootPEM returns the root certificate.
func (a *Authority) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
}

// RootFile returns the path of the file that holds the root certificate.
func (a *Authority) RootFile() string { return filepath.Join(a.dir, rootCertFile) }

// NotAfter returns when the root and its intermediates end, by name.
func (a *Authority) NotAfter() map[string]time.Time {
	return map[string]time.Time{"root-ca": a.root.NotAfter, serversFile: a.servers.cert.NotAfter, devicesFile: a.devices.cert.NotAfter}
}

// removeUnfinished removes what a crash left of create: keys that nobody uses.
func removeUnfinished(dataDir string) error {
	left, err := filepath.Glob(filepath.Join(dataDir, unfinished+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// create makes the authority in a folder beside and renames that, so that a
// crash leaves either no authority or a whole one.
func (a *Authority) create(dataDir string) error {
	tmp, err := os.MkdirTemp(dataDir, unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // after the rename there is nothing left
	root, err := a.newIssuer(issuer{}, "Sekisho Root CA", nil)
	if err != nil {
		return err
	}
	servers, err := a.newIssuer(root, "Sekisho Servers CA", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
	if err != nil {
		return err
	}
	devices, err := a.newIssuer(root, "Sekisho Devices CA", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	if err != nil {
		return err
	}
	for name, i := range map[string]issuer{"root-ca": root, serversFile: servers, devicesFile: devices} {
		keyPEM, err := encodeKey(i.key)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(tmp, name+".key"), keyPEM, 0o600); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(tmp, name+".pem"), encodeCertificates(i.cert.Raw), 0o644); err != nil {
			return err
		}
	}
	if err := syncFolder(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, a.dir); err != nil {
		return err
	}
	return syncFolder(dataDir)
}

// newIssuer makes an issuer; without a parent it signs itself.
func (a *Authority) newIssuer(parent issuer, name string, usage []x509.ExtKeyUsage) (issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.rand)
	if err != nil {
		return issuer{}, err
	}
	serial, err := newSerial(a.rand)
	if err != nil {
		return issuer{}, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Sekisho"}},
		NotBefore:             a.now().Add(-backdate),
		NotAfter:              endOfTime(),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           usage,
	}
	signer, signed := crypto.Signer(key), t
	if parent.cert != nil {
		signer, signed = parent.key, parent.cert
		t.MaxPathLenZero = true
	}
	der, err := x509.CreateCertificate(a.rand, t, signed, key.Public(), signer)
	if err != nil {
		return issuer{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return issuer{cert: cert, key: key}, err
}

func (a *Authority) load() error {
	root, err := a.readCertificate(rootCertFile)
	if err != nil {
		return err
	}
	a.root = root
	if a.servers, err = a.readIssuer(serversFile); err != nil {
		return err
	}
	if a.devices, err = a.readIssuer(devicesFile); err != nil {
		return err
	}
	for _, i := range []issuer{a.servers, a.devices} {
		if err := i.cert.CheckSignatureFrom(a.root); err != nil {
			return fmt.Errorf("%s: %w", i.cert.Subject.CommonName, err)
		}
	}
	return nil
}

func (a *Authority) readIssuer(name string) (issuer, error) {
	cert, err := a.readCertificate(name + ".pem")
	if err != nil {
		return issuer{}, err
	}
	key, err := a.readKey(name + ".key")
	if err != nil {
		return issuer{}, err
	}
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return issuer{}, fmt.Errorf("%s: the key is not the certificate's", name)
	}
	return issuer{cert: cert, key: key}, nil
}

func (a *Authority) readCertificate(name string) (*x509.Certificate, error) {
	b, err := os.ReadFile(filepath.Join(a.dir, name)) //nolint:gosec // a fixed name in our own folder
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: no PEM certificate", name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return cert, nil
}

func (a *Authority) readKey(name string) (crypto.Signer, error) {
	b, err := os.ReadFile(filepath.Join(a.dir, name)) //nolint:gosec // a fixed name in our own folder
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: no PEM private key", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: the key does not parse", name)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: the key cannot sign", name)
	}
	return signer, nil
}

// newSerial returns a random positive serial of exactly 20 octets, the most
// that RFC 5280 allows.
func newSerial(rand io.Reader) (*big.Int, error) {
	var b [20]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:]), nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encodeCertificates(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// writeFile writes a file to the disk; it replaces one by rename, so that a reader sees one or the other whole.
func writeFile(path string, b []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode) //nolint:gosec // a fixed name in our own folder
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func syncFolder(path string) error {
	d, err := os.Open(path) //nolint:gosec // a fixed name in our own folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
