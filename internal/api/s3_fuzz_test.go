package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/s3"
)

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-5", "bytes=7-", "bytes=9-1", "bytes=1-2,3-4", "bytes=99999999999999999999-", "lines=1-2", ""} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		r := parseRange(s)
		if r == nil || size < 0 {
			return
		}
		offset, length, err := r.Resolve(size)
		if err == nil && (offset < 0 || length <= 0 || offset+length > size) {
			t.Errorf("%q of %d: %d bytes at %d", s, size, length, offset)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("MWtleQ", "key")
	f.Add("", "\xff")
	f.Fuzz(func(t *testing.T, token, key string) {
		if got, err := decodeToken(&token); err == nil && len(got) > s3.MaxKey {
			t.Errorf("%q: %d bytes", token, len(got))
		}
		if key == "" || len(key) > s3.MaxKey {
			return
		}
		if got, err := decodeToken(encodeToken(key)); err != nil || got != key {
			t.Errorf("%q reads back as %q, %v", key, got, err)
		}
	})
}

func FuzzAnnouncedChecksum(f *testing.F) {
	f.Add("x-amz-checksum-crc32", "y/Q5Jg==", "", "CRC32")
	f.Add("x-amz-checksum-md4", "x", "x-amz-checksum-sha1", "")
	f.Add("x-amz-meta-a", "x", "x-amz-checksum-crc64nvme, x-amz-meta-b", "crc64nvme")
	f.Fuzz(func(t *testing.T, name, value, trailer, algorithm string) {
		h := http.Header{}
		h.Set(name, value)
		h.Set("X-Amz-Trailer", trailer)
		h.Set("X-Amz-Sdk-Checksum-Algorithm", algorithm)
		sum, late, err := announcedChecksum(h)
		if err != nil {
			return
		}
		if late != "" && (sum.Algorithm == s3.AlgorithmNone || !strings.EqualFold(late, checksumPrefix+string(sum.Algorithm))) {
			t.Errorf("trailer %q for %q", late, sum.Algorithm)
		}
		if sum.Algorithm != s3.AlgorithmNone && sum.Algorithm.NewHash() == nil {
			t.Errorf("no hash for %q", sum.Algorithm)
		}
	})
}
