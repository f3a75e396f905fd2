package local

import (
	"context"
	"errors"
	"io/fs"

	"github.com/sekisho-iot/sekisho/internal/s3"
)

// Delete removes an object. Its bytes are freed soon after.
func (e *Engine) Delete(ctx context.Context, in *s3.DeleteInput) error {
	if err := e.cfg.Store.DeleteObject(ctx, in.Bucket.ID, in.Key, in.If); err != nil {
		return err
	}
	e.wake()
	return nil
}

// Copy makes an object of another one's bytes: by a second name for the same
// file where it can, else by reading them.
func (e *Engine) Copy(ctx context.Context, in *s3.CopyInput) (*s3.Info, error) {
	for range retries {
		r, err := e.cfg.Store.Object(ctx, in.From.ID, in.FromKey, true)
		if err != nil {
			return nil, err
		}
		info, err := e.copyRecord(ctx, &r, in)
		if !errors.Is(err, errGone) {
			return info, err
		}
	}
	return nil, errGone
}

func (e *Engine) copyRecord(ctx context.Context, r *Record, in *s3.CopyInput) (*s3.Info, error) {
	source, err := r.info()
	if err != nil {
		return nil, err
	}
	if err := in.FromIf.Check(&source); err != nil {
		return nil, err
	}
	if r.Size > s3.MaxPut {
		return nil, s3.TooLarge()
	}
	headers := source.Headers
	if in.Headers != nil {
		headers = *in.Headers
	}
	algorithm := in.Algorithm
	if algorithm == s3.AlgorithmNone {
		algorithm = source.Checksum.Algorithm
	}
	if r.Layout > 0 || algorithm != source.Checksum.Algorithm {
		return e.copyBytes(ctx, r, in, headers, algorithm)
	}
	encoded, err := encodeHeaders(&headers)
	if err != nil {
		return nil, err
	}
	to := *r
	to.Key, to.Headers, to.Modified = in.Key, encoded, e.now()
	if to.Version, err = e.newID(); err != nil {
		return nil, err
	}
	b := &blob{id: to.Version, inline: r.Layout == Inline}
	if !b.inline {
		if err := e.files.link(r.Version, to.Version); err != nil {
			e.abandon(b)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, errGone
			}
			return nil, err
		}
	}
	if err := e.commit(ctx, b, in.BeforeCommit, func(ctx context.Context) error {
		return e.cfg.Store.PutObject(ctx, in.Bucket, &to, in.If)
	}); err != nil {
		return nil, err
	}
	info, err := to.info()
	return &info, err
}

func (e *Engine) copyBytes(ctx context.Context, r *Record, in *s3.CopyInput, headers s3.Headers, a s3.Algorithm) (*s3.Info, error) {
	o, err := e.read(ctx, r, &s3.GetInput{Bucket: in.From, Key: in.FromKey})
	if err != nil {
		return nil, err
	}
	defer o.Body.Close() //nolint:errcheck // it is only read
	return e.Put(ctx, &s3.PutInput{
		Bucket: in.Bucket, Key: in.Key, Headers: headers, If: in.If,
		Content: s3.Content{Body: o.Body, Size: o.Length, Algorithm: a, BeforeCommit: in.BeforeCommit},
	})
}
