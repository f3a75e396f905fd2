package s3_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

func TestBucketNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"abc": true, "a-b.c-1": true, "1bucket": true, strings.Repeat("a", 63): true, "my.bucket": true,
		"ab": false, strings.Repeat("a", 64): false, "Upper": false, "a_b": false, "-abc": false, "abc-": false,
		".abc": false, "abc.": false, "a..b": false, "a.-b": false, "a-.b": false, "192.168.5.4": false, "xn--abc": false, "sthree-x": false,
		"amzn-s3-demo-x": false, "x-s3alias": false, "x--ol-s3": false, "x.mrap": false, "x--x-s3": false,
		"x--table-s3": false, "bücket": false, "a/b": false, "_sekisho": false, "": false, "a b": false, "abc\x00": false,
	} {
		if got := s3.ValidBucketName(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

// The check values of "123456789" are those of the CRC catalogue
// (https://reveng.sourceforge.io/crc-catalogue/all.htm) and of FIPS 180-4.
func TestChecksumVectors(t *testing.T) {
	t.Parallel()
	for a, want := range map[s3.Algorithm]string{
		s3.AlgorithmCRC32:     "y/Q5Jg==",     // cbf43926
		s3.AlgorithmCRC32C:    "4waSgw==",     // e3069283
		s3.AlgorithmCRC64NVME: "rosUhgp5mIg=", // ae8b14860a799888
		s3.AlgorithmSHA1:      "98O8HYCOBHMq32eZZczDTKeuNEE=",
		s3.AlgorithmSHA256:    "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
	} {
		h := a.NewHash()
		h.Write([]byte("123456789"))
		got := base64.StdEncoding.EncodeToString(h.Sum(nil))
		if got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
		if !a.ValidValue(got) || a.ValidValue(got[1:]) || a.ValidValue("") {
			t.Errorf("%s: validity of %s", a, got)
		}
	}
	if s3.AlgorithmNone.NewHash() != nil || s3.AlgorithmNone.ValidValue("") {
		t.Error("no algorithm is one")
	}
}

func TestCombineChecksums(t *testing.T) {
	t.Parallel()
	pieces := []string{"the first part, ", "", strings.Repeat("and another ", 1000), "x"}
	for _, a := range []s3.Algorithm{s3.AlgorithmCRC32, s3.AlgorithmCRC32C, s3.AlgorithmCRC64NVME} {
		whole := a.NewHash()
		var parts []s3.Part
		for i, p := range pieces {
			h := a.NewHash()
			h.Write([]byte(p))
			whole.Write([]byte(p))
			parts = append(parts, s3.Part{Number: i + 1, Size: int64(len(p)), Checksum: s3.Checksum{
				Algorithm: a, Value: base64.StdEncoding.EncodeToString(h.Sum(nil)),
			}})
		}
		got, err := s3.CombineChecksums(a, s3.FullObject, parts)
		if want := base64.StdEncoding.EncodeToString(whole.Sum(nil)); err != nil || got.Value != want {
			t.Errorf("%s: %s, %v, want %s", a, got.Value, err, want)
		}
		if got != s3.ParseChecksum(got.String()) {
			t.Errorf("%s: %q does not read back", a, got.String())
		}
		composite, err := s3.CombineChecksums(a, s3.Composite, parts)
		if err != nil || !strings.HasSuffix(composite.Value, "-4") {
			t.Errorf("%s composite: %v, %v", a, composite, err)
		}
		parts[2].Checksum.Value = "AA=="
		if _, err := s3.CombineChecksums(a, s3.FullObject, parts); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("%s: a part without its checksum: %v", a, err)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r              s3.Range
		size           int64
		offset, length int64
	}{
		{s3.Range{First: 0, Last: 0}, 10, 0, 1},
		{s3.Range{First: 3, Last: 100}, 10, 3, 7},
		{s3.Range{First: 9, Last: -1}, 10, 9, 1},
		{s3.Range{Suffix: 3, IsSuffix: true}, 10, 7, 3},
		{s3.Range{Suffix: 30, IsSuffix: true}, 10, 0, 10},
		{s3.Range{First: 10, Last: 11}, 10, 0, -1},
		{s3.Range{First: 0, Last: -1}, 0, 0, -1},
		{s3.Range{Suffix: 0, IsSuffix: true}, 10, 0, -1},
		{s3.Range{Suffix: 5, IsSuffix: true}, 0, 0, -1},
	} {
		offset, length, err := c.r.Resolve(c.size)
		if (err != nil) != (c.length < 0) || err == nil && (offset != c.offset || length != c.length) {
			t.Errorf("%+v of %d: %d, %d, %v", c.r, c.size, offset, length, err)
		}
	}
}

func TestReadConditions(t *testing.T) {
	t.Parallel()
	modified := time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)
	info := &s3.Info{ETag: "abc", Modified: modified}
	second := modified.Truncate(time.Second)
	for name, c := range map[string]struct {
		when s3.ReadConditions
		want iot.Kind
	}{
		"none":                      {s3.ReadConditions{}, 0},
		"match":                     {s3.ReadConditions{IfMatch: `"abc"`}, 0},
		"match bare":                {s3.ReadConditions{IfMatch: `abc`}, 0},
		"match list":                {s3.ReadConditions{IfMatch: `"x", "abc"`}, 0},
		"match any":                 {s3.ReadConditions{IfMatch: `*`}, 0},
		"match other":               {s3.ReadConditions{IfMatch: `"x"`}, iot.KindPrecondition},
		"none match":                {s3.ReadConditions{IfNoneMatch: `"abc"`}, iot.KindNotModified},
		"none match weak":           {s3.ReadConditions{IfNoneMatch: `W/"abc"`}, iot.KindNotModified},
		"none match other":          {s3.ReadConditions{IfNoneMatch: `"x"`}, 0},
		"modified since, no":        {s3.ReadConditions{IfModifiedSince: second}, iot.KindNotModified},
		"modified since":            {s3.ReadConditions{IfModifiedSince: second.Add(-time.Second)}, 0},
		"unmodified since":          {s3.ReadConditions{IfUnmodifiedSince: second}, 0},
		"unmodified since, no":      {s3.ReadConditions{IfUnmodifiedSince: second.Add(-time.Second)}, iot.KindPrecondition},
		"match beats unmodified":    {s3.ReadConditions{IfMatch: "abc", IfUnmodifiedSince: second.Add(-time.Hour)}, 0},
		"none match beats modified": {s3.ReadConditions{IfNoneMatch: "x", IfModifiedSince: second}, 0},
	} {
		err := c.when.Check(info)
		if c.want == 0 && err != nil || c.want != 0 && !iot.IsKind(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChecksumTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a  s3.Algorithm
		t  s3.ChecksumType
		ok bool
	}{
		{s3.AlgorithmCRC32, s3.FullObject, true},
		{s3.AlgorithmCRC32, s3.Composite, true},
		{s3.AlgorithmCRC64NVME, s3.FullObject, true},
		{s3.AlgorithmCRC64NVME, s3.Composite, false},
		{s3.AlgorithmSHA1, s3.FullObject, false},
		{s3.AlgorithmSHA256, s3.Composite, true},
		{s3.AlgorithmNone, s3.Composite, false},
		{s3.AlgorithmNone, "", true},
		{s3.AlgorithmSHA1, "HALF", false},
	} {
		if err := c.a.CheckType(c.t); (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.a, c.t, err)
		}
	}
	if _, err := s3.ParseAlgorithm("crc64nvme"); err != nil {
		t.Error(err)
	}
	if _, err := s3.ParseAlgorithm("MD4"); err == nil {
		t.Error("MD4 is none")
	}
}
