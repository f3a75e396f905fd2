package s3

import (
	"net/netip"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Bucket is what a request needs to know of its bucket. It is shared and never changed.
type Bucket struct {
	Name    string
	ID      int64 // never used again: a bucket of the same name made later has another
	Created time.Time
	Policy  *policy.Policy // nil where there is none
}

// ARN returns the bucket's name as policies write it.
func (b *Bucket) ARN() string { return "arn:aws:s3:::" + b.Name }

// ObjectARN returns the object's name as policies write it, with the key's own bytes.
func (b *Bucket) ObjectARN(key string) string { return "arn:aws:s3:::" + b.Name + "/" + key }

// ValidBucketName reports whether name is one that S3 allows for a new bucket:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func ValidBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for _, s := range []string{"..", ".-", "-."} { // no host name has such a label
		if strings.Contains(name, s) {
			return false
		}
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		inner := (c == '-' || c == '.') && i > 0 && i < len(name)-1
		if !letter && !inner {
			return false
		}
	}
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	for _, s := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, s) {
			return false
		}
	}
	_, err := netip.ParseAddr(name)
	return err != nil
}

// checkLocation reports why a bucket cannot be made at the location asked for.
// An empty one means the server's region.
func checkLocation(location, region string) error {
	switch {
	case location == "", location == region, location == "EU" && region == "eu-west-1":
		return nil
	case looksLikeRegion(location):
		return iot.Errorf(iot.KindInvalid, "location-incompatible",
			"The %s location constraint is incompatible for the region specific endpoint this request was sent to.", location)
	default:
		return iot.Errorf(iot.KindInvalid, "location", "The specified location-constraint is not valid")
	}
}

// looksLikeRegion tells a region of somewhere else from nonsense: xx-word-N.
func looksLikeRegion(s string) bool {
	f := strings.Split(s, "-")
	if len(f) < 3 || len(f[0]) != 2 {
		return s == "EU"
	}
	last := f[len(f)-1]
	return len(last) == 1 && last[0] >= '1' && last[0] <= '9'
}
