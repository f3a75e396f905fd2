package pki

import (
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
	if why := weakKey(csr.PublicKey); why != "" {
		return nil, invalidCSR("%s", why)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, invalidCSR("its signature does not verify")
	}
	return csr, nil
}

func invalidCSR(format string, args ...any) error {
	e := iot.Errorf(iot.KindInvalid, "csr", format, args...)
	e.Message = "The certificate signing request is not valid: " + e.Message
	return e
}
