package registry

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Tag is a name and a value on a resource.
type Tag struct {
	Key, Value string
}

const maxTags = 50

// TagResource adds tags to a resource or replaces their values.
func (r *Registry) TagResource(ctx context.Context, resource string, tags []Tag) error {
	name, err := r.parseResource(resource)
	if err != nil {
		return err
	}
	if err := CheckTags(tags); err != nil {
		return err
	}
	return r.tags.SetTags(ctx, name, tags, maxTags)
}

// UntagResource removes tags by name; names that are not there do not matter.
func (r *Registry) UntagResource(ctx context.Context, resource string, keys []string) error {
	name, err := r.parseResource(resource)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := checkTag(Tag{Key: k}); err != nil {
			return err
		}
	}
	if len(keys) > maxTags {
		return iot.Errorf(iot.KindInvalid, "tag", "At most %d tag keys can be named in one request", maxTags)
	}
	return r.tags.RemoveTags(ctx, name, keys)
}

// Tags lists the tags of a resource by name.
func (r *Registry) Tags(ctx context.Context, resource string) ([]Tag, error) {
	name, err := r.parseResource(resource)
	if err != nil {
		return nil, err
	}
	return r.tags.Tags(ctx, name)
}

// CheckTags judges tags that are to be set: their grammar, that none is named
// twice, and their number.
func CheckTags(tags []Tag) error {
	if len(tags) > maxTags {
		return iot.Errorf(iot.KindLimit, "tag", "A resource can have at most %d tags", maxTags)
	}
	seen := map[string]bool{}
	for _, t := range tags {
		if err := checkTag(t); err != nil {
			return err
		}
		if seen[t.Key] {
			return iot.Errorf(iot.KindInvalid, "tag", "Duplicate tag key: %s", t.Key)
		}
		seen[t.Key] = true
	}
	return nil
}

func checkTag(t Tag) error {
	n := utf8.RuneCountInString(t.Key)
	if n < 1 || n > 128 || !validTagText(t.Key) {
		return iot.Errorf(iot.KindInvalid, "tag", "Invalid tag key: %q", t.Key)
	}
	if len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:") {
		return iot.Errorf(iot.KindInvalid, "tag", "Tag keys that begin with aws: are reserved")
	}
	if utf8.RuneCountInString(t.Value) > 256 || !validTagText(t.Value) {
		return iot.Errorf(iot.KindInvalid, "tag", "Invalid value of tag %s", t.Key)
	}
	return nil
}

func validTagText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.In(c, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", c) {
			return false
		}
	}
	return true
}

// parseResource returns the last part of an ARN of the IoT service of this account and region.
func (r *Registry) parseResource(s string) (string, error) {
	p, err := iot.ParseARN(s)
	if err != nil {
		return "", err
	}
	if p.Partition != "aws" || p.Service != "iot" || p.Region != r.region || p.Account != string(r.account) {
		return "", iot.Errorf(iot.KindInvalid, "arn", "Invalid resource ARN: %s", s)
	}
	return p.Resource, nil
}
