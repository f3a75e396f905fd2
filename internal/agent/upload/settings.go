package upload

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
)

// Defaults and bounds of Settings.
const (
	DefaultTopic       = "file/upload"
	DefaultKey         = "{thing}/{name}"
	DefaultInlineMax   = 50 << 10
	MaxInline          = 90 << 10 // in base64, with the other fields, below 128 KiB
	smallParts         = 8 << 20  // of a file unless PartSize says otherwise
	largeParts         = 16 << 20 // of one of largeFile or more: fewer of them, each of which is made durable
	largeFile          = 512 << 20
	DefaultConcurrency = 4

	minPartSize = 5 << 20
	maxParts    = 10000
	maxKey      = 1024
)

// Settings say where files go and how.
type Settings struct {
	Thing    string
	Bucket   string
	Region   string
	Endpoint string // S3's URL, which is also what notices name
	Key      string // template: {thing} {name} {yyyy} {mm} {dd} {uploadId}

	Topic       string
	FailedTopic string // default: Topic, then /failed
	Plain       bool   // type and content or url alone
	InlineMax   int64  // a larger file goes to S3

	PartSize    int64 // 0: by the file's size
	Concurrency int   // requests to S3 at once

	NewestFirst bool
	GiveUpAfter time.Duration // without any progress
	// Persist keeps on trying also where the server said no, as somebody may mend it.
	Persist bool
}

// DefaultSettings are those of an agent that is told nothing.
func DefaultSettings() Settings {
	return Settings{
		Key: DefaultKey, Topic: DefaultTopic, InlineMax: DefaultInlineMax,
		Concurrency: DefaultConcurrency, GiveUpAfter: 10 * time.Minute,
	}
}

// Validate says what is wrong with the settings, and fills in what follows from others.
func (s *Settings) Validate() error {
	if s.FailedTopic == "" {
		s.FailedTopic = s.Topic + "/failed"
	}
	u, err := url.Parse(s.Endpoint)
	switch {
	case s.Thing == "":
		return errors.New("the thing's name is needed")
	case s.Topic == "" || strings.ContainsAny(s.Topic+s.FailedTopic, "#+\x00"):
		return fmt.Errorf("topic %q: must be the name of a topic, without wildcards", s.Topic)
	case s.InlineMax < 0 || s.InlineMax > MaxInline:
		return fmt.Errorf("inline-max %d: must be 0 to %d bytes, as an MQTT message holds 128 KiB", s.InlineMax, MaxInline)
	case s.PartSize != 0 && (s.PartSize < minPartSize || s.PartSize > 5<<30):
		return fmt.Errorf("part size %d: must be 5 MiB to 5 GiB", s.PartSize)
	case s.Concurrency < 1 || s.Concurrency > 64:
		return fmt.Errorf("concurrency %d: must be 1 to 64", s.Concurrency)
	case s.GiveUpAfter <= 0:
		return fmt.Errorf("give-up-after %v: must be more than nothing", s.GiveUpAfter)
	case s.Bucket != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https"):
		return fmt.Errorf("S3 endpoint %q: must be a URL, http or https", s.Endpoint)
	}
	_, err = s.key(&spool.Record{Name: "x", ID: "x"})
	return err
}

// key fills in the template.
func (s *Settings) key(r *spool.Record) (string, error) {
	at := r.Accepted.UTC()
	values := map[string]string{
		"thing": s.Thing, "name": r.Name, "uploadId": r.ID,
		"yyyy": at.Format("2006"), "mm": at.Format("01"), "dd": at.Format("02"),
	}
	var unknown string
	key := regexp.MustCompile(`\{[^{}]*\}`).ReplaceAllStringFunc(s.Key, func(field string) string {
		v, ok := values[field[1:len(field)-1]]
		if !ok {
			unknown = field
		}
		return v
	})
	switch {
	case unknown != "":
		return "", fmt.Errorf("key template %q: there is no %s; there are {thing} {name} {yyyy} {mm} {dd} {uploadId}", s.Key, unknown)
	case key == "" || len(key) > maxKey:
		return "", fmt.Errorf("key %q: must have 1 to %d bytes", key, maxKey)
	case !utf8.ValidString(key):
		return "", fmt.Errorf("key %q: must be UTF-8: give the file another name", key)
	}
	return key, nil
}

// partSize is that of a file: the one that was set, or more where there would be
// too many parts.
func (s *Settings) partSize(size int64) int64 {
	const mib = 1 << 20
	least := (size + maxParts - 1) / maxParts
	part := s.PartSize
	switch {
	case part != 0:
	case size >= largeFile:
		part = largeParts
	default:
		part = smallParts
	}
	return max(part, (least+mib-1)/mib*mib)
}

// objectURL is the plain URL of an object.
func (s *Settings) objectURL(bucket, key string) string {
	escaped := (&url.URL{Path: "/" + key}).EscapedPath()
	base, _ := url.Parse(s.Endpoint)
	// A certificate for *.s3.REGION.amazonaws.com is not one for a bucket with a dot.
	if pathStyle(base.Host) || base.Scheme == "https" && strings.Contains(bucket, ".") {
		return base.Scheme + "://" + base.Host + "/" + bucket + escaped
	}
	return base.Scheme + "://" + bucket + "." + base.Host + escaped
}

// pathStyle reports whether the bucket stands in the path: everywhere but with
// AWS itself, whose own form is the other one.
func pathStyle(host string) bool {
	host, _, _ = strings.Cut(host, ":")
	return !strings.HasSuffix(host, ".amazonaws.com") && !strings.HasSuffix(host, ".amazonaws.com.cn")
}
