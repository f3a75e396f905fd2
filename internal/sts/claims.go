package sts

import (
	"bytes"
	"compress/flate"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// claims are what a session token says.
type claims struct {
	AccessKeyID string // ASIA and 16 characters
	RoleID      string // "" for the sessions of a user or of the account root
	Federated   bool   // of GetFederationToken
	SessionName string // of a role session; the name of a federated user
	Issued      int64  // Unix seconds
	Expires     int64

	// The device that the session, or the one it was derived from, was issued to.
	Certificate iot.CertificateID
	Epoch       int64
	ThingName   string
	ThingID     string
	ThingType   string
	Incarnation int64 // of the thing's attachment
	Subscriber  string
	NetworkPath string

	// What the session was derived from.
	Derived  bool     // from another session
	Parents  []string // role ids, first assumed first
	KeyID    string   // the long-term key at the beginning, if there was one
	KeyEpoch int64
	UserID   string // the key's user; "" for the account root

	SourceIdentity string
	Tags           []Tag
	Policy         string   // session policy
	Managed        []string // managed session policies: unique id, space, ARN
}

const (
	claimsVersion  = 1
	sessionPrefix  = "ASIA"
	keyIDBytes     = 10
	maxClaimString = 8192
	maxClaimList   = 64
	maxPolicyBytes = 8192 // 2048 characters of at most four bytes
)

const (
	flagCertificate = 1 << iota
	flagDerived
	flagDeflated
	flagFederated
	flagsKnown = 1<<iota - 1
)

var errClaims = errors.New("malformed session token")

// keyIDText is the access key id of ten random bytes.
func keyIDText(raw []byte) string {
	var id [len(sessionPrefix) + keyIDBytes*8/5]byte
	copy(id[:], sessionPrefix)
	base32.StdEncoding.Encode(id[len(sessionPrefix):], raw)
	return string(id[:])
}

// encode renders the claims in a compact form.
func (c *claims) encode() ([]byte, error) {
	key, err := base32.StdEncoding.DecodeString(strings.TrimPrefix(c.AccessKeyID, sessionPrefix))
	if err != nil || len(key) != keyIDBytes {
		return nil, errClaims
	}
	flags := byte(0)
	cert, err := hex.DecodeString(string(c.Certificate))
	if err != nil || len(cert) != 0 && len(cert) != 32 {
		return nil, errClaims
	}
	if len(cert) > 0 {
		flags |= flagCertificate
	}
	if c.Derived {
		flags |= flagDerived
	}
	if c.Federated {
		flags |= flagFederated
	}
	doc, deflated, err := pack(c.Policy)
	if err != nil {
		return nil, err
	}
	if deflated {
		flags |= flagDeflated
	}
	b := make([]byte, 0, 320+len(doc))
	b = append(b, claimsVersion, flags)
	b = append(b, key...)
	b = appendStrings(b, c.RoleID, c.SessionName)
	b = appendInts(b, c.Issued, c.Expires-c.Issued)
	if len(cert) > 0 {
		b = append(b, cert...)
		b = appendInts(b, c.Epoch)
		b = appendStrings(b, c.ThingName, c.ThingID, c.ThingType)
		b = appendInts(b, c.Incarnation)
		b = appendStrings(b, c.Subscriber, c.NetworkPath)
	}
	b = appendList(b, c.Parents)
	b = appendStrings(b, c.KeyID, c.UserID, c.SourceIdentity)
	b = appendInts(b, c.KeyEpoch)
	b = binary.AppendUvarint(b, uint64(len(c.Tags)))
	for _, t := range c.Tags {
		b = appendStrings(b, t.Key, t.Value)
		b = append(b, transitiveByte(t.Transitive))
	}
	b = appendList(b, c.Managed)
	return appendStrings(b, doc), nil
}

func transitiveByte(t bool) byte {
	if t {
		return 1
	}
	return 0
}

func appendStrings(b []byte, list ...string) []byte {
	for _, s := range list {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// appendInts appends numbers that are never negative.
func appendInts(b []byte, list ...int64) []byte {
	for _, n := range list {
		b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // see above; what is negative never decodes
	}
	return b
}

func appendList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	return appendStrings(b, list...)
}

// decodeClaims reads what encode wrote, and nothing else.
func decodeClaims(b []byte) (*claims, error) {
	d := claimsReader{b: b, text: string(b)}
	if v := d.byte(); v != claimsVersion {
		return nil, errClaims
	}
	flags := d.byte()
	if flags&^flagsKnown != 0 {
		return nil, errClaims
	}
	c := &claims{
		AccessKeyID: keyIDText(d.bytes(keyIDBytes)),
		RoleID:      d.string(),
		SessionName: d.string(),
		Issued:      d.int(),
		Derived:     flags&flagDerived != 0,
		Federated:   flags&flagFederated != 0,
	}
	c.Expires = c.Issued + d.int()
	if flags&flagCertificate != 0 {
		var id [64]byte
		hex.Encode(id[:], d.bytes(32))
		c.Certificate = iot.CertificateID(id[:])
		c.Epoch = d.int()
		c.ThingName, c.ThingID, c.ThingType = d.string(), d.string(), d.string()
		c.Incarnation = d.int()
		c.Subscriber, c.NetworkPath = d.string(), d.string()
	}
	c.Parents = d.list()
	c.KeyID, c.UserID, c.SourceIdentity = d.string(), d.string(), d.string()
	c.KeyEpoch = d.int()
	for range d.count() {
		t := Tag{Key: d.string(), Value: d.string()}
		n := d.byte()
		if n > 1 {
			d.bad = true
		}
		t.Transitive = n == 1
		c.Tags = append(c.Tags, t)
	}
	c.Managed = d.list()
	doc := d.string()
	if d.bad || len(d.b) != 0 || c.RoleID == "" && c.KeyID == "" {
		return nil, errClaims
	}
	var err error
	c.Policy, err = unpack(doc, flags&flagDeflated != 0)
	return c, err
}

// claimsReader reads fields; after a bad one all that follow are empty. text is
// all of it once more, for strings to be cut from.
type claimsReader struct {
	b    []byte
	text string
	bad  bool
}

func (d *claimsReader) bytes(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return make([]byte, min(n, 32))
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *claimsReader) byte() byte { return d.bytes(1)[0] }

func (d *claimsReader) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 || n > 1 && d.b[n-1] == 0 { // a shorter form exists
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *claimsReader) int() int64 {
	v := d.uint()
	if v > 1<<63-1 {
		d.bad = true
		return 0
	}
	return int64(v)
}

func (d *claimsReader) string() string {
	n := d.uint()
	if n > maxClaimString || n > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	at := len(d.text) - len(d.b)
	d.b = d.b[n:]
	return d.text[at : at+int(n)]
}

func (d *claimsReader) count() int {
	n := d.uint()
	if n > maxClaimList {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *claimsReader) list() []string {
	var list []string
	for range d.count() {
		list = append(list, d.string())
	}
	return list
}

// packDictionary is what session policies are likely to say. It is part of the
// token's format: a change of it needs a new claimsVersion.
const packDictionary = `"NotAction":"NotResource":"Bool":{"aws:SecureTransport":"true"}"StringEquals":{"StringLike":{"s3:prefix":` +
	`"IpAddress":{"aws:SourceIp":"arn:aws:iot:arn:aws:iam::"iot:Publish","iot:Subscribe","s3:ListBucket","s3:DeleteObject","s3:GetObject","s3:PutObject"` +
	`],"Resource":["arn:aws:s3:::"Condition":{"Sid":"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Effect":"Allow","Action":["s3:*","Resource":"*"}]}`

// pack drops a document's white space, and deflates it where that makes it shorter.
func pack(doc string) (packed string, deflated bool, err error) {
	if doc == "" {
		return "", false, nil
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, []byte(doc)); err != nil {
		return "", false, err
	}
	var small bytes.Buffer
	w, err := flate.NewWriterDict(&small, flate.BestCompression, []byte(packDictionary))
	if err != nil {
		return "", false, err
	}
	if _, err := w.Write(plain.Bytes()); err != nil {
		return "", false, err
	}
	if err := w.Close(); err != nil {
		return "", false, err
	}
	if small.Len() < plain.Len() {
		return small.String(), true, nil
	}
	return plain.String(), false, nil
}

func unpack(packed string, deflated bool) (string, error) {
	if !deflated {
		return packed, nil
	}
	r := flate.NewReaderDict(strings.NewReader(packed), []byte(packDictionary))
	plain, err := io.ReadAll(io.LimitReader(r, maxPolicyBytes+1))
	if err != nil || len(plain) > maxPolicyBytes {
		return "", errClaims
	}
	return string(plain), nil
}
