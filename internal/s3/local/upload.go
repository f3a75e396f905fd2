package local

import (
	"context"
	"crypto/md5" //nolint:gosec // an ETag is an MD5; nothing is secured by it
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// CreateUpload begins a multipart upload.
func (e *Engine) CreateUpload(ctx context.Context, in *s3.CreateUploadInput) (*s3.Upload, error) {
	headers, err := encodeHeaders(&in.Headers)
	if err != nil {
		return nil, err
	}
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	u := &Upload{
		ID: id, Bucket: in.Bucket.ID, Key: in.Key, Initiated: e.now(), Headers: headers,
		Algorithm: in.Algorithm, ChecksumType: in.ChecksumType,
	}
	if err := e.cfg.Store.CreateUpload(ctx, in.Bucket, u); err != nil {
		return nil, err
	}
	return u.describe()
}

func (u *Upload) describe() (*s3.Upload, error) {
	d := &s3.Upload{Key: u.Key, ID: u.ID.String(), Initiated: u.Initiated, Algorithm: u.Algorithm, ChecksumType: u.ChecksumType}
	if err := json.Unmarshal(u.Headers, &d.Headers); err != nil {
		return nil, fmt.Errorf("decode headers: %w", err)
	}
	return d, nil
}

func (e *Engine) upload(ctx context.Context, ref *s3.UploadRef) (Upload, error) {
	id, ok := parseID(ref.ID)
	if !ok {
		return Upload{}, s3.NoSuchUpload()
	}
	return e.cfg.Store.Upload(ctx, ref.Bucket.ID, ref.Key, id)
}

// PutPart stores one part.
func (e *Engine) PutPart(ctx context.Context, in *s3.PutPartInput) (*s3.Part, error) {
	u, err := e.upload(ctx, &in.UploadRef)
	if err != nil {
		return nil, err
	}
	content := in.Content
	if u.Algorithm != s3.AlgorithmNone {
		if content.Algorithm != s3.AlgorithmNone && content.Algorithm != u.Algorithm {
			return nil, iot.Errorf(iot.KindInvalid, "request",
				"Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
				strings.ToLower(string(u.Algorithm)), strings.ToLower(string(content.Algorithm)))
		}
		content.Algorithm = u.Algorithm
	}
	b, err := e.receive(&content, -1)
	if err != nil {
		return nil, err
	}
	p := &Part{
		Number: in.Number, Blob: b.id, Size: b.size, ETag: hex.EncodeToString(b.md5),
		Modified: e.now(), Checksum: b.sum.String(),
	}
	if err := e.commit(ctx, b, in.BeforeCommit, func(ctx context.Context) error {
		return e.cfg.Store.PutPart(ctx, u.ID, p)
	}); err != nil {
		return nil, err
	}
	d := p.describe()
	return &d, nil
}

// CompleteUpload turns an upload into the object without touching its bytes.
func (e *Engine) CompleteUpload(ctx context.Context, in *s3.CompleteInput) (*s3.Info, error) {
	for range retries {
		u, err := e.upload(ctx, &in.UploadRef)
		if iot.IsKind(err, iot.KindNotFound) {
			return e.completedBefore(ctx, in)
		}
		if err != nil {
			return nil, err
		}
		parts, err := e.cfg.Store.Parts(ctx, u.ID, 0, s3.MaxPart)
		if err != nil {
			return nil, err
		}
		c, err := e.assemble(in, &u, parts)
		if err != nil {
			return nil, err
		}
		if in.BeforeCommit != nil {
			if err := in.BeforeCommit(ctx); err != nil {
				return nil, err
			}
		}
		e.hook("assembled")
		err = e.cfg.Store.CompleteUpload(context.WithoutCancel(ctx), in.Bucket, c)
		switch {
		case iot.IsKind(err, iot.KindVersionConflict): // a part came in meanwhile
			continue
		case err != nil:
			return nil, err
		}
		e.hook("committed")
		e.wake()
		info, err := c.Record.info()
		return &info, err
	}
	return nil, iot.Errorf(iot.KindBusy, "upload", "Parts are still being uploaded. Please try again.")
}

// assemble judges the list of parts against those that are stored, and returns
// what the object will be.
func (e *Engine) assemble(in *s3.CompleteInput, u *Upload, stored []Part) (*Completion, error) {
	c := &Completion{Upload: *u, If: in.If}
	used := make([]s3.Part, 0, len(in.Parts))
	for _, want := range in.Parts {
		for len(stored) > 0 && stored[0].Number < want.Number {
			c.Drop = append(c.Drop, stored[0].Number)
			stored = stored[1:]
		}
		if len(stored) == 0 || stored[0].Number != want.Number {
			return nil, s3.InvalidPart()
		}
		p := stored[0].describe()
		stored = stored[1:]
		if err := checkPart(u, &want, &p); err != nil {
			return nil, err
		}
		used = append(used, p)
	}
	for i := range stored {
		c.Drop = append(c.Drop, stored[i].Number)
	}
	var size int64
	for i := range used {
		size += used[i].Size
		if i < len(used)-1 && used[i].Size < s3.MinPart {
			return nil, s3.TooSmall()
		}
	}
	sum, err := s3.CombineChecksums(u.Algorithm, u.ChecksumType, used)
	if err != nil {
		return nil, err
	}
	if err := checkWhole(in, size, sum); err != nil {
		return nil, err
	}
	c.Record = Record{
		Key: u.Key, Version: u.ID, Size: size, ETag: partsTag(used), Modified: e.now(),
		Layout: Layout(len(used)), Checksum: sum.String(), Headers: u.Headers,
	}
	c.Record.Origin, err = u.origin(in.Origin)
	return c, err
}

// origin is where the object of the upload comes from: what it was begun with says more.
func (u *Upload) origin(from *s3.Origin) (*s3.Origin, error) {
	if from == nil {
		return nil, nil //nolint:nilnil // not a device's
	}
	d, err := u.describe()
	if err != nil {
		return nil, err
	}
	o := *from
	o.Began = u.Initiated
	if o.UploadID == "" {
		o.UploadID = d.Headers.Meta[s3.MetaUploadID]
	}
	return &o, nil
}

func checkPart(u *Upload, want *s3.CompletePart, p *s3.Part) error {
	if strings.Trim(want.ETag, `"`) != p.ETag {
		return s3.InvalidPart()
	}
	if want.Checksum.Algorithm != s3.AlgorithmNone && want.Checksum.Algorithm == p.Checksum.Algorithm &&
		want.Checksum.Value != p.Checksum.Value {
		return s3.InvalidPart()
	}
	if u.ChecksumType == s3.Composite && want.Checksum.Algorithm != u.Algorithm {
		return iot.Errorf(iot.KindInvalid, "request", "The upload was created using a %s checksum. "+
			"The complete request must include the checksum for each part. It was missing for part %d in the request.",
			strings.ToLower(string(u.Algorithm)), p.Number)
	}
	return nil
}

func checkWhole(in *s3.CompleteInput, size int64, sum s3.Checksum) error {
	if size > s3.MaxObject {
		return s3.TooLarge()
	}
	if in.Size >= 0 && in.Size != size {
		return iot.Errorf(iot.KindInvalid, "request",
			"The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d", in.Size, size)
	}
	want := in.Checksum
	if want.Type != "" && sum.Type != "" && want.Type != sum.Type {
		return iot.Errorf(iot.KindInvalid, "request", "The upload was created using the %s checksum mode. "+
			"The complete request must use the same checksum mode.", sum.Type)
	}
	if want.Value != "" && want.Algorithm == sum.Algorithm && want.Value != sum.Value {
		return s3.BadDigest(string(sum.Algorithm))
	}
	if want.Value != "" && want.Algorithm != sum.Algorithm {
		return iot.Errorf(iot.KindInvalid, "request", "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
			strings.ToLower(string(sum.Algorithm)), strings.ToLower(string(want.Algorithm)))
	}
	return nil
}

// partsTag returns the ETag of an object of parts: the MD5 of their MD5s, and their number.
func partsTag(parts []s3.Part) string {
	h := md5.New() //nolint:gosec // see above
	for i := range parts {
		raw, _ := hex.DecodeString(parts[i].ETag)
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}

// completedBefore answers a completion that is asked for again, while its
// object still stands: a client that lost the first answer repeats itself.
func (e *Engine) completedBefore(ctx context.Context, in *s3.CompleteInput) (*s3.Info, error) {
	id, ok := parseID(in.ID)
	if !ok {
		return nil, s3.NoSuchUpload()
	}
	r, err := e.cfg.Store.Object(ctx, in.Bucket.ID, in.Key, false)
	if iot.IsKind(err, iot.KindNotFound) || err == nil && r.Version != id {
		return nil, s3.NoSuchUpload()
	}
	if err != nil {
		return nil, err
	}
	asked := make([]s3.Part, len(in.Parts))
	for i, p := range in.Parts {
		asked[i].ETag = strings.Trim(p.ETag, `"`)
	}
	if partsTag(asked) != r.ETag {
		return nil, s3.NoSuchUpload()
	}
	info, err := r.info()
	return &info, err
}

// AbortUpload gives an upload up. What its parts hold is freed soon after.
func (e *Engine) AbortUpload(ctx context.Context, ref s3.UploadRef) error {
	u, err := e.upload(ctx, &ref)
	if err != nil {
		return err
	}
	if err := e.cfg.Store.AbortUpload(ctx, u.ID); err != nil {
		return err
	}
	e.wake()
	return nil
}

// ListParts returns a page of an upload's parts.
func (e *Engine) ListParts(ctx context.Context, in *s3.ListPartsInput) (*s3.PartsPage, error) {
	u, err := e.upload(ctx, &in.UploadRef)
	if err != nil {
		return nil, err
	}
	d, err := u.describe()
	if err != nil {
		return nil, err
	}
	page := &s3.PartsPage{Upload: *d}
	parts, err := e.cfg.Store.Parts(ctx, u.ID, in.After, in.Max+1)
	if err != nil {
		return nil, err
	}
	if len(parts) > in.Max {
		parts = parts[:in.Max]
		page.Truncated = true
	}
	for i := range parts {
		page.Parts = append(page.Parts, parts[i].describe())
	}
	return page, nil
}
