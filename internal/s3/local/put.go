package local

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // an ETag is an MD5; nothing is secured by it
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// Put stores one whole object.
func (e *Engine) Put(ctx context.Context, in *s3.PutInput) (*s3.Info, error) {
	headers, err := encodeHeaders(&in.Headers)
	if err != nil {
		return nil, err
	}
	b, err := e.receive(&in.Content, e.cfg.Inline)
	if err != nil {
		return nil, err
	}
	r := &Record{
		Key: in.Key, Version: b.id, Size: b.size, ETag: hex.EncodeToString(b.md5), Modified: e.now(),
		Layout: InFile, Checksum: b.sum.String(), Headers: headers, Data: b.data, Origin: in.Origin,
	}
	if b.inline {
		r.Layout = Inline
	}
	if err := e.commit(ctx, b, in.BeforeCommit, func(ctx context.Context) error {
		return e.cfg.Store.PutObject(ctx, in.Bucket, r, in.If)
	}); err != nil {
		return nil, err
	}
	return &s3.Info{Key: in.Key, Size: b.size, ETag: r.ETag, Modified: r.Modified, Headers: in.Headers, Checksum: b.sum}, nil
}

// blob is a body that was received: durable, but nothing refers to it yet.
type blob struct {
	id     ID
	inline bool
	data   []byte // of an inline one
	size   int64
	md5    []byte
	sum    s3.Checksum
}

// commit makes a blob visible by the change of rows that save makes. When that
// fails the blob is removed, unless the rows may refer to it all the same.
func (e *Engine) commit(ctx context.Context, b *blob, before func(context.Context) error, save func(context.Context) error) error {
	e.hook("durable")
	if before != nil {
		if err := before(ctx); err != nil {
			e.abandon(b)
			return err
		}
	}
	// Once begun the commit is not given up: its outcome must be known.
	ctx = context.WithoutCancel(ctx)
	if err := save(ctx); err != nil {
		if known, e2 := e.cfg.Store.Known(ctx, []ID{b.id}); e2 == nil && !known[b.id] {
			e.abandon(b)
		}
		return err
	}
	e.hook("committed")
	e.wake()
	return nil
}

func (e *Engine) abandon(b *blob) {
	if b.inline {
		return
	}
	if err := e.files.remove(b.id); err != nil {
		e.cfg.Log.Warn("a data file stays behind until the next start", "file", b.id.String(), "error", err)
	}
}

// receive reads a body to its end, takes the hashes on the way, judges them,
// and returns it durable. Bodies up to inline bytes stay in memory.
func (e *Engine) receive(c *s3.Content, inline int) (*blob, error) {
	if err := e.cfg.Disk.Fits(max(c.Size, 0)); err != nil {
		return nil, err
	}
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	buf := e.buffers.Get().(*[bufferSize]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer e.buffers.Put(buf)
	w := &receiver{disk: e.cfg.Disk, md5: md5.New(), sum: c.Algorithm.NewHash()} //nolint:gosec // see above
	b := &blob{id: id}

	n, err := fill(c.Body, buf[:])
	if ended(err) && n <= inline {
		w.hash(buf[:n])
		b.inline, b.data = true, bytes.Clone(buf[:n])
		return b, w.finish(c, b)
	}
	if err != nil && !ended(err) {
		return nil, incomplete(err)
	}
	file, e2 := e.files.create(id)
	if e2 != nil {
		return nil, fmt.Errorf("make data file: %w", e2)
	}
	w.file = file
	for err == nil {
		if err = w.write(buf[:n]); err == nil {
			n, err = fill(c.Body, buf[:])
		}
		if err == nil && w.size > s3.MaxPut {
			err = s3.TooLarge()
		}
	}
	if ended(err) {
		if err = w.write(buf[:n]); err == nil {
			err = w.finish(c, b)
		}
	}
	e.hook("written")
	if err != nil {
		_ = file.Close()
		e.abandon(b)
		return nil, incomplete(err)
	}
	if err := e.files.finish(id, file); err != nil {
		e.abandon(b)
		return nil, err
	}
	return b, nil
}

// fill reads until p is full or the reader ends; io.EOF comes with the last bytes.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

func ended(err error) bool { return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) }

// incomplete tells a client that hung up from a failure of the machine.
func incomplete(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &iot.Error{
			Kind: iot.KindInvalid, Resource: "body", Err: err,
			Message: "You did not provide the number of bytes specified by the Content-Length HTTP header",
		}
	}
	return err
}

// receiver is where the bytes of a body go.
type receiver struct {
	file *os.File
	disk Disk
	md5  hash.Hash
	sum  hash.Hash // nil for none
	size int64
}

func (w *receiver) hash(p []byte) {
	w.md5.Write(p)
	if w.sum != nil {
		w.sum.Write(p)
	}
	w.size += int64(len(p))
}

func (w *receiver) write(p []byte) error {
	if err := w.disk.Take(int64(len(p))); err != nil {
		return err
	}
	w.hash(p)
	if _, err := w.file.Write(p); err != nil {
		return fmt.Errorf("write data file: %w", err)
	}
	return nil
}

// finish compares what arrived with what was announced.
func (w *receiver) finish(c *s3.Content, b *blob) error {
	b.size = w.size
	b.md5 = w.md5.Sum(nil)
	switch {
	case w.size > s3.MaxPut:
		return s3.TooLarge()
	case c.Size >= 0 && c.Size != w.size:
		return incomplete(io.ErrUnexpectedEOF)
	case c.MD5 != nil && !bytes.Equal(c.MD5, b.md5):
		return s3.BadDigest("Content-MD5")
	case w.sum == nil:
		return nil
	}
	b.sum = s3.Checksum{Algorithm: c.Algorithm, Type: s3.FullObject, Value: base64.StdEncoding.EncodeToString(w.sum.Sum(nil))}
	want := c.Want
	if want == "" && c.Trailer != nil {
		want = c.Trailer()
		if want != "" && !c.Algorithm.ValidValue(want) {
			return s3.InvalidChecksum(c.Algorithm)
		}
	}
	if want != "" && want != b.sum.Value {
		return s3.BadDigest(string(c.Algorithm))
	}
	return nil
}
