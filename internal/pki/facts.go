package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

// The limits of https://docs.aws.amazon.com/iot/latest/developerguide/cert-policy-variables.html:
// further items are ignored, longer strings are not substituted.
const (
	maxFactItems = 5
	maxFactChars = 1024
)

// Facts are the policy variables of one certificate: iot:CertificateId and
// iot:Certificate.*. They are immutable. Few policies ask for more than the id:
// the others are read out of the names when the first is asked for.
type Facts struct {
	id                        string
	serial                    string
	subject, issuer           []byte // DER
	subjectNames, issuerNames []byte // the extensions of alternative names

	once   sync.Once
	values map[string]policy.Values // set by once
}

// Lookup answers a condition key in lower case.
func (f *Facts) Lookup(key string) policy.Values {
	if key == "iot:certificateid" {
		return policy.One(f.id)
	}
	if strings.HasPrefix(key, "iot:certificate.") {
		f.once.Do(f.build)
		if v, ok := f.values[key]; ok {
			return v
		}
	}
	return policy.Absent("the certificate has no such attribute")
}

// NewFacts reads the variables of a certificate.
func NewFacts(id string, c *x509.Certificate) *Facts {
	f := &Facts{id: id, serial: serialHex(c), subject: c.RawSubject, issuer: c.RawIssuer}
	for _, e := range c.Extensions {
		switch {
		case e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}):
			f.subjectNames = e.Value
		case e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 18}):
			f.issuerNames = e.Value
		}
	}
	// One piece of memory instead of the whole certificate.
	all := slices.Concat(f.subject, f.issuer, f.subjectNames, f.issuerNames)
	for _, part := range []*[]byte{&f.subject, &f.issuer, &f.subjectNames, &f.issuerNames} {
		n := len(*part)
		*part, all = all[:n:n], all[n:]
	}
	return f
}

func (f *Facts) build() {
	b := &factBuilder{values: map[string]policy.Values{}}
	b.name("Issuer", f.issuer)
	b.name("Subject", f.subject)
	b.alternativeNames("Subject", f.subjectNames)
	b.alternativeNames("Issuer", f.issuerNames)
	b.add("Certificate.SerialNumber", []string{f.serial})
	b.values["iot:certificate.availablekeys"] = policy.Many(b.available)
	f.values = b.values
}

// serialHex is the serial number in lower-case hex digits, two for each octet.
func serialHex(c *x509.Certificate) string {
	if c.SerialNumber == nil {
		return ""
	}
	s := c.SerialNumber.Text(16)
	if len(s)%2 == 1 {
		s = "0" + s
	}
	return s
}

type factBuilder struct {
	values    map[string]policy.Values
	available []string
}

// add sets an attribute: its plain name is the first value, .0, .1, … are
// each one (AWS's index of the second value is 1), .List is all.
func (b *factBuilder) add(name string, values []string) {
	kept := make([]string, 0, maxFactItems)
	for _, v := range values[:min(len(values), maxFactItems)] {
		if utf8.ValidString(v) && utf8.RuneCountInString(v) <= maxFactChars {
			kept = append(kept, v)
		}
	}
	if len(kept) == 0 || len(kept) < min(len(values), maxFactItems) {
		return // a value that cannot be told would shift the others
	}
	key := "iot:" + strings.ToLower(name)
	b.values[key] = policy.One(kept[0])
	if name != "Certificate.SerialNumber" {
		b.values[key+".list"] = policy.Many(kept)
		for i, v := range kept {
			b.values[key+"."+strconv.Itoa(i)] = policy.One(v)
		}
	}
	b.available = append(b.available, "iot:"+name)
}

// name adds the attributes of a distinguished name.
func (b *factBuilder) name(whose string, raw []byte) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &rdns); err != nil || len(rest) > 0 {
		return
	}
	values := map[string][]string{}
	var order []string
	for _, rdn := range rdns {
		for _, a := range rdn {
			name := attributeName(a.Type)
			s, ok := a.Value.(string)
			if name == "" || !ok {
				continue
			}
			if values[name] == nil {
				order = append(order, name)
			}
			values[name] = append(values[name], s)
		}
	}
	for _, name := range order {
		b.add("Certificate."+whose+"."+name, values[name])
	}
}

// attributeName is AWS IoT's name of an attribute type of X.520; "" for others.
func attributeName(oid asn1.ObjectIdentifier) string {
	if len(oid) != 4 || oid[0] != 2 || oid[1] != 5 || oid[2] != 4 {
		return ""
	}
	switch oid[3] {
	case 3:
		return "CommonName"
	case 4:
		return "Surname"
	case 5:
		return "SerialNumber"
	case 6:
		return "Country"
	case 8:
		return "State"
	case 10:
		return "Organization"
	case 11:
		return "OrganizationalUnit"
	case 12:
		return "Title"
	case 42:
		return "GivenName"
	case 43:
		return "Initials"
	case 44:
		return "GenerationQualifier"
	case 46:
		return "DistinguishedNameQualifier"
	case 65:
		return "Pseudonym"
	}
	return ""
}

// The tags of GeneralName, RFC 5280 section 4.2.1.6.
const (
	tagRFC822    = 1
	tagDNS       = 2
	tagDirectory = 4
	tagURI       = 6
	tagIP        = 7
)

// alternativeNames adds the names of an extension of the type GeneralNames.
func (b *factBuilder) alternativeNames(whose string, der []byte) {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) > 0 {
		return
	}
	kinds := []string{"RFC822Name", "DNSName", "DirectoryName", "UniformResourceIdentifier", "IPAddress"}
	values := make([][]string, len(kinds))
	for _, n := range names {
		if n.Class != asn1.ClassContextSpecific {
			continue
		}
		switch n.Tag {
		case tagRFC822:
			values[0] = append(values[0], string(n.Bytes))
		case tagDNS:
			values[1] = append(values[1], string(n.Bytes))
		case tagDirectory:
			if s, ok := directoryName(n.Bytes); ok {
				values[2] = append(values[2], s)
			}
		case tagURI:
			if _, err := url.Parse(string(n.Bytes)); err == nil {
				values[3] = append(values[3], string(n.Bytes))
			}
		case tagIP:
			if len(n.Bytes) == net.IPv4len || len(n.Bytes) == net.IPv6len {
				values[4] = append(values[4], net.IP(n.Bytes).String())
			}
		}
	}
	for i, kind := range kinds {
		b.add("Certificate."+whose+".AlternativeName."+kind, values[i])
	}
}

func directoryName(der []byte) (string, bool) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return "", false
	}
	return rdns.String(), true
}
