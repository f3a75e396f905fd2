package local

import (
	"context"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/s3"
)

// successor returns the first string behind all that begin with p, "" where there is none.
func successor(p string) string {
	b := []byte(p)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}

// rollUp returns the common prefix that key is listed under, "" where it stands for itself.
func rollUp(key, prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	i := strings.Index(key[len(prefix):], delimiter)
	if i < 0 {
		return ""
	}
	return key[:len(prefix)+i+len(delimiter)]
}

// cursor walks keys in order and jumps over those that are rolled up.
type cursor struct {
	from, to string // from <= key < to; an empty to means no end
	end      bool
	limit    int // rows of the next scan
}

const (
	scanLeast = 16
	scanMost  = s3.MaxList + 1
)

func newCursor(prefix, delimiter, after string, want int) *cursor {
	c := &cursor{from: prefix, to: successor(prefix), limit: min(want+1, scanMost)}
	if delimiter != "" {
		c.limit = min(c.limit, 4*scanLeast)
	}
	if after == "" {
		return c
	}
	if strings.HasPrefix(after, prefix) && after != prefix && rollUp(after, prefix, delimiter) == after {
		c.skip(after) // a page that ended with a common prefix goes on behind all of it
		return c
	}
	c.from = max(c.from, after+"\x00")
	c.end = c.to != "" && c.from >= c.to
	return c
}

// pass moves behind one key.
func (c *cursor) pass(key string) { c.from = key + "\x00" }

// skip moves behind all keys with a common prefix.
func (c *cursor) skip(common string) {
	c.from = successor(common)
	c.end = c.from == "" || c.to != "" && c.from >= c.to
}

// adapt chooses how much to scan next: more while rows are used, less while
// most of them fall under prefixes that were seen.
func (c *cursor) adapt(scanned, used int) {
	if used*2 < scanned {
		c.limit = max(c.limit/2, scanLeast)
	} else {
		c.limit = min(c.limit*2, scanMost)
	}
}

// List returns a page of keys and common prefixes.
func (e *Engine) List(ctx context.Context, in *s3.ListInput) (*s3.ListPage, error) {
	page := &s3.ListPage{}
	c := newCursor(in.Prefix, in.Delimiter, in.After, in.Max)
	for !c.end {
		limit := c.limit
		rows, err := e.cfg.Store.Scan(ctx, in.Bucket.ID, c.from, c.to, limit)
		if err != nil {
			return nil, err
		}
		used := 0
		for i := range rows {
			r := &rows[i]
			if c.end || r.Key < c.from {
				continue
			}
			if len(page.Objects)+len(page.Prefixes) == in.Max {
				page.Truncated = true
				return page, nil
			}
			used++
			if common := rollUp(r.Key, in.Prefix, in.Delimiter); common != "" {
				page.Prefixes = append(page.Prefixes, common)
				page.Next = common
				c.skip(common)
				continue
			}
			info, err := r.info()
			if err != nil {
				return nil, err
			}
			page.Objects = append(page.Objects, info)
			page.Next = r.Key
			c.pass(r.Key)
		}
		if len(rows) < limit {
			break
		}
		c.adapt(len(rows), used)
	}
	page.Next = ""
	return page, nil
}

// ListUploads returns a page of uploads under way.
func (e *Engine) ListUploads(ctx context.Context, in *s3.ListUploadsInput) (*s3.UploadsPage, error) {
	page := &s3.UploadsPage{}
	c := newCursor(in.Prefix, in.Delimiter, in.After, in.Max)
	var after ID
	if id, ok := parseID(in.AfterID); ok && c.from == in.After+"\x00" {
		c.from, after = in.After, id
	}
	for !c.end {
		limit := c.limit
		rows, err := e.cfg.Store.ScanUploads(ctx, in.Bucket.ID, c.from, after, c.to, limit)
		if err != nil {
			return nil, err
		}
		used := 0
		for i := range rows {
			u := &rows[i]
			if c.end || u.Key < c.from {
				continue
			}
			if len(page.Uploads)+len(page.Prefixes) == in.Max {
				page.Truncated = true
				return page, nil
			}
			used++
			if common := rollUp(u.Key, in.Prefix, in.Delimiter); common != "" {
				page.Prefixes = append(page.Prefixes, common)
				page.NextKey, page.NextID = common, ""
				c.skip(common)
				after = ID{}
				continue
			}
			upload, err := u.describe()
			if err != nil {
				return nil, err
			}
			page.Uploads = append(page.Uploads, *upload)
			page.NextKey, page.NextID = u.Key, upload.ID
			c.from, after = u.Key, u.ID
		}
		if len(rows) < limit {
			break
		}
		c.adapt(len(rows), used)
	}
	page.NextKey, page.NextID = "", ""
	return page, nil
}
