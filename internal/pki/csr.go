package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxCSR is the most characters of a signing request, as in the API model.
const maxCSR = 4096

// parseCSR reads and checks a PKCS #10 request in PEM. What it returns proves
// possession of its key; everything in it but the subject and the key is to be ignored.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	if text == "" || len(text) > maxCSR {
		return nil, invalidCSR("it must have 1 to %d characters", maxCSR)
	}
	block, rest := pem.Decode([]byte(strings.TrimSpace(text) + "\n"))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, invalidCSR("it is not in PEM format")
	}
	if len(strings.TrimSpace(string(rest))) > 0 {
		return nil, invalidCSR("something follows the request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, invalidCSR("it does not parse")
	}
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, invalidCSR("its signature does not verify")
	}
	return csr, nil
}

// checkKey accepts the keys that AWS IoT does: RSA of 2048 bits and more, and
// the NIST curves P-256, P-384 and P-521. Beyond 4096 bits RSA only costs.
func checkKey(public any) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 {
			return invalidCSR("an RSA key must have 2048 to 4096 bits, not %d", n)
		}
		return nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return invalidCSR("the curve of its key must be P-256, P-384 or P-521")
	}
	return invalidCSR("its key must be RSA or ECC")
}

func invalidCSR(format string, args ...any) error {
	e := iot.Errorf(iot.KindInvalid, "csr", format, args...)
	e.Message = "The certificate signing request is not valid: " + e.Message
	return e
}
