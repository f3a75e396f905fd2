package s3

import (
	"crypto/sha1" //nolint:gosec // one of the checksums that S3 offers; nothing is secured by it
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Algorithm is a checksum that a client may have taken over an object.
type Algorithm string

// The algorithms of the x-amz-checksum-* headers.
const (
	AlgorithmNone      Algorithm = ""
	AlgorithmCRC32     Algorithm = "CRC32"
	AlgorithmCRC32C    Algorithm = "CRC32C"
	AlgorithmCRC64NVME Algorithm = "CRC64NVME"
	AlgorithmSHA1      Algorithm = "SHA1"
	AlgorithmSHA256    Algorithm = "SHA256"
)

// ChecksumType says what the checksum of an object of parts is taken over.
type ChecksumType string

// The two types: over all bytes, or over the checksums of the parts.
const (
	FullObject ChecksumType = "FULL_OBJECT"
	Composite  ChecksumType = "COMPOSITE"
)

// Checksum is a checksum in base64. A composite one ends in -N for N parts.
type Checksum struct {
	Algorithm Algorithm
	Type      ChecksumType
	Value     string
}

// ParseAlgorithm reads an algorithm's name in any case.
func ParseAlgorithm(s string) (Algorithm, error) {
	a := Algorithm(strings.ToUpper(s))
	if a.size() == 0 {
		return AlgorithmNone, iot.Errorf(iot.KindInvalid, "checksum-algorithm",
			"Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
	}
	return a, nil
}

func (a Algorithm) lower() string { return strings.ToLower(string(a)) }

func (a Algorithm) size() int {
	switch a {
	case AlgorithmCRC32, AlgorithmCRC32C:
		return 4
	case AlgorithmCRC64NVME:
		return 8
	case AlgorithmSHA1:
		return sha1.Size
	case AlgorithmSHA256:
		return sha256.Size
	case AlgorithmNone:
	}
	return 0
}

// ValidValue reports whether v is the base64 of a checksum of that algorithm.
func (a Algorithm) ValidValue(v string) bool {
	b, err := base64.StdEncoding.DecodeString(v)
	return err == nil && a.size() != 0 && len(b) == a.size()
}

// DefaultType returns the type that an upload gets when it names none.
func (a Algorithm) DefaultType() ChecksumType {
	if a == AlgorithmNone {
		return ""
	}
	if a == AlgorithmCRC64NVME {
		return FullObject
	}
	return Composite
}

// CheckType reports why an upload cannot have that algorithm with that type.
func (a Algorithm) CheckType(t ChecksumType) error {
	switch {
	case t == "":
		return nil
	case t != FullObject && t != Composite:
		return iot.Errorf(iot.KindInvalid, "request", "Value for x-amz-checksum-type header is invalid.")
	case a == AlgorithmNone:
		return iot.Errorf(iot.KindInvalid, "request", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case t == Composite && a == AlgorithmCRC64NVME,
		t == FullObject && (a == AlgorithmSHA1 || a == AlgorithmSHA256):
		return iot.Errorf(iot.KindInvalid, "request", "The %s checksum type cannot be used with the %s checksum algorithm.", t, a.lower())
	}
	return nil
}

// NewHash returns a running checksum, nil for AlgorithmNone.
func (a Algorithm) NewHash() hash.Hash {
	switch a {
	case AlgorithmCRC32:
		return crc32.NewIEEE()
	case AlgorithmCRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case AlgorithmCRC64NVME:
		return crc64.New(crc64.MakeTable(nvmePoly))
	case AlgorithmSHA1:
		return sha1.New() //nolint:gosec // as asked for by the client
	case AlgorithmSHA256:
		return sha256.New()
	case AlgorithmNone:
	}
	return nil
}

// String renders the checksum for storing, "" for none.
func (c Checksum) String() string {
	if c.Algorithm == AlgorithmNone {
		return ""
	}
	return string(c.Algorithm) + ":" + string(c.Type) + ":" + c.Value
}

// ParseChecksum reads what String wrote; anything else is no checksum.
func ParseChecksum(s string) Checksum {
	a, rest, _ := strings.Cut(s, ":")
	t, v, ok := strings.Cut(rest, ":")
	if !ok {
		return Checksum{}
	}
	return Checksum{Algorithm: Algorithm(a), Type: ChecksumType(t), Value: v}
}

// CombineChecksums returns the checksum of an object that consists of parts,
// each with a checksum of that algorithm.
func CombineChecksums(a Algorithm, t ChecksumType, parts []Part) (Checksum, error) {
	sum := Checksum{Algorithm: a, Type: t}
	if a == AlgorithmNone {
		return Checksum{}, nil
	}
	h := a.NewHash()
	var crc uint64
	for i := range parts {
		p := &parts[i]
		raw, err := base64.StdEncoding.DecodeString(p.Checksum.Value)
		if err != nil || len(raw) != a.size() || p.Checksum.Algorithm != a {
			return Checksum{}, iot.Errorf(iot.KindInvalid, "part", "Part %d has no %s checksum", p.Number, a)
		}
		if t == Composite {
			h.Write(raw)
			continue
		}
		next := binary.BigEndian.Uint64(append(make([]byte, 8-len(raw)), raw...))
		crc = combineCRC(a, crc, next, uint64(p.Size)) //nolint:gosec // sizes are never negative
	}
	if t == Composite {
		sum.Value = base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
		return sum, nil
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], crc)
	sum.Value = base64.StdEncoding.EncodeToString(b[8-a.size():])
	return sum, nil
}
