package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// hosts knows under which names virtual-host style S3 is served.
type hosts struct {
	exact    []string // S3 itself, path style
	suffixes []string // what follows a bucket, the longest first
}

func newHosts(public []string, region string) hosts {
	var h hosts
	for _, name := range append([]string{"localhost"}, public...) {
		name = strings.ToLower(name)
		if _, err := netip.ParseAddr(name); err == nil || name == "" {
			continue
		}
		for _, n := range []string{name, "s3." + name, "s3." + region + "." + name} {
			h.exact = append(h.exact, n)
			h.suffixes = append(h.suffixes, "."+n)
		}
	}
	slices.SortStableFunc(h.suffixes, func(a, b string) int { return len(b) - len(a) })
	return h
}

// BucketFromHost returns the bucket that a Host names in virtual-host style:
// BUCKET.HOST and BUCKET.s3.REGION.HOST for localhost and each public host.
func (h *Handler) BucketFromHost(host string) (bucket string, ok bool) {
	return h.hosts.bucket(host)
}

func (h hosts) bucket(host string) (string, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if slices.Contains(h.exact, host) {
		return "", false
	}
	for _, suffix := range h.suffixes {
		if bucket, ok := strings.CutSuffix(host, suffix); ok && bucket != "" {
			return bucket, true
		}
	}
	return "", false
}

// headerHas reports whether a comma-separated header holds a token.
func headerHas(h http.Header, name, token string) bool {
	for _, line := range h[name] {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
