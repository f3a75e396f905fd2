package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"time"
)

// Format is the version of the archive that this program writes, and the newest
// that it reads.
const Format = 1

// What an archive begins and ends with.
const (
	manifestName = "sekisho-backup.json"
	endName      = "end.json"
	maxDocument  = 64 << 10 // of either
)

// Manifest is the first entry of an archive.
type Manifest struct {
	Format    int       `json:"format"`
	Version   string    `json:"version"` // of the program
	Created   time.Time `json:"created"`
	Region    string    `json:"region"`
	AccountID string    `json:"accountId"`
	Objects   int64     `json:"objects"` // how many data files there are
	Bytes     int64     `json:"bytes"`   // how many all files have, to within what keys and certificates take
}

// end is the last entry: what must have come before it.
type end struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

// namePattern are the files of a data folder that an archive may hold.
func namePattern() *regexp.Regexp {
	return regexp.MustCompile(`^(sekisho\.db|keys\.json|admin\.json|queue/queue\.db|pki/[A-Za-z0-9][A-Za-z0-9._-]{0,99}|objects/[0-9a-f]{2}/[0-9a-f]{32})$`)
}

// Writer writes an archive. Its methods are called one after the other.
type Writer struct {
	tar   *tar.Writer
	names *regexp.Regexp
	mtime time.Time
	sum   end
	buf   []byte
}

// NewWriter begins an archive.
func NewWriter(w io.Writer, m *Manifest) (*Writer, error) {
	x := &Writer{tar: tar.NewWriter(w), names: namePattern(), mtime: m.Created, buf: make([]byte, 256<<10)}
	return x, x.document(manifestName, m)
}

func (w *Writer) document(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.entry(name, int64(len(b)), bytes.NewReader(b))
}

func (w *Writer) entry(name string, size int64, r io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: w.mtime}
	if size > 8<<30-1 { // what USTAR can say
		h.Format = tar.FormatPAX
	}
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	n, err := io.CopyBuffer(onlyWriter{w.tar}, io.LimitReader(r, size), w.buf)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	return nil
}

type onlyWriter struct{ io.Writer }

// File adds a file of size bytes under its name in the data folder.
func (w *Writer) File(name string, size int64, r io.Reader) error {
	if !w.names.MatchString(name) {
		return fmt.Errorf("archive %q: not the name of a file of a data folder", name)
	}
	w.sum.Files++
	w.sum.Bytes += size
	return w.entry(name, size, r)
}

// Close writes the end, without which no archive is whole.
func (w *Writer) Close() error {
	if err := w.document(endName, w.sum); err != nil {
		return err
	}
	return w.tar.Close()
}

// Extract makes the files of an archive in the folder, 0600 in folders 0700.
// begin sees the manifest before anything is made. What was made when Extract
// fails stays for the caller to remove, as syncing it stays.
func Extract(r io.Reader, dir *os.Root, begin func(*Manifest) error) (*Manifest, error) {
	x := &extraction{tar: tar.NewReader(r), dir: dir, names: namePattern(), buf: make([]byte, 256<<10)}
	m, err := x.manifest()
	if err != nil {
		return nil, err
	}
	if err := begin(m); err != nil {
		return nil, err
	}
	for !x.ended {
		if err := x.next(); err != nil {
			return nil, err
		}
	}
	// The seal's own end says that nothing is missing and nothing was added.
	if _, err := x.tar.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it goes on behind its end", ErrDamaged)
	}
	if _, err := io.CopyBuffer(onlyWriter{io.Discard}, r, x.buf); err != nil {
		return nil, err
	}
	return m, nil
}

type extraction struct {
	tar   *tar.Reader
	dir   *os.Root
	names *regexp.Regexp
	buf   []byte
	sum   end
	ended bool
}

// header reads the next entry's, which is of a plain file.
func (x *extraction) header() (*tar.Header, error) {
	h, err := x.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it has no end", ErrDamaged)
	case errors.Is(err, ErrDamaged):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case h.Typeflag != tar.TypeReg:
		return nil, fmt.Errorf("%w: %q is no plain file", ErrDamaged, h.Name)
	}
	return h, nil
}

func (x *extraction) document(h *tar.Header, v any) error {
	if h.Size > maxDocument {
		return fmt.Errorf("%w: %s has %d bytes", ErrDamaged, h.Name, h.Size)
	}
	b, err := io.ReadAll(x.tar)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, h.Name, err)
	}
	return nil
}

func (x *extraction) manifest() (*Manifest, error) {
	h, err := x.header()
	if err != nil {
		return nil, err
	}
	if h.Name != manifestName {
		return nil, ErrNotBackup
	}
	m := &Manifest{}
	if err := x.document(h, m); err != nil {
		return nil, err
	}
	if m.Format < 1 || m.Format > Format {
		return nil, fmt.Errorf("the backup has format %d, this program reads up to %d: use the version that made it (%s) or a newer one", m.Format, Format, m.Version)
	}
	return m, nil
}

func (x *extraction) next() error {
	h, err := x.header()
	if err != nil {
		return err
	}
	if h.Name == endName {
		var want end
		if err := x.document(h, &want); err != nil {
			return err
		}
		if want != x.sum {
			return fmt.Errorf("%w: %d files of %d bytes are there, %d of %d were written", ErrDamaged, x.sum.Files, x.sum.Bytes, want.Files, want.Bytes)
		}
		x.ended = true
		return nil
	}
	if !x.names.MatchString(h.Name) || h.Size < 0 {
		return fmt.Errorf("%w: %q is no file of a data folder", ErrDamaged, h.Name)
	}
	x.sum.Files++
	x.sum.Bytes += h.Size
	return x.file(h)
}

func (x *extraction) file(h *tar.Header) error {
	f, err := x.dir.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = x.makeFolders(path.Dir(h.Name)); err == nil {
			f, err = x.dir.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s is there twice", ErrDamaged, h.Name)
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", h.Name, err)
	}
	_, err = io.CopyBuffer(onlyWriter{f}, x.tar, x.buf)
	if err := errors.Join(err, f.Close()); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrDamaged) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return fmt.Errorf("restore %s: %w", h.Name, err)
	}
	return nil
}

func (x *extraction) makeFolders(dir string) error {
	if dir == "." {
		return nil
	}
	err := x.dir.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = x.makeFolders(path.Dir(dir)); err == nil {
			err = x.dir.Mkdir(dir, 0o700)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
