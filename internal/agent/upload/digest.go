package upload

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"time"
)

// errChanged is of a file that is not what it was when it was begun.
var errChanged = errors.New("the file changes while it is sent")

// source is an open file and what is known of its bytes. The sums grow with the
// parts that have been read, in order, and serve every attempt.
type source struct {
	file     *os.File
	info     os.FileInfo
	partSize int64
	whole    hash.Hash
	parts    []partSum
	buffer   []byte
	// signed has the SHA-256 of each part taken as well, which requests without TLS
	// are signed with.
	signed bool
}

// partSum is what is known of a part's bytes.
type partSum struct {
	crc32c uint32
	sha256 string // lower-case hex; "" unless it is needed
}

func openSource(path string, partSize func(int64) int64) (*source, error) {
	f, err := os.Open(path) //nolint:gosec // the file that is to be sent
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &source{file: f, info: info, partSize: partSize(info.Size()), whole: sha256.New()}, nil
}

// errNotRegular is of what has no content of its own.
var errNotRegular = errors.New("not a regular file")

func (s *source) size() int64        { return s.info.Size() }
func (s *source) modTime() time.Time { return s.info.ModTime() }

// count is the number of parts; an empty file has one.
func (s *source) count() int { return int(max(1, (s.size()+s.partSize-1)/s.partSize)) }

// section is part n, counted from 0.
func (s *source) section(n int) *io.SectionReader {
	at := int64(n) * s.partSize
	return io.NewSectionReader(s.file, at, min(s.partSize, s.size()-at))
}

// sum returns the sums of part n, for which the parts before it are read as well.
func (s *source) sum(n int) (partSum, error) {
	if s.buffer == nil {
		s.buffer = make([]byte, 256<<10)
	}
	for len(s.parts) <= n {
		crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		sums := writers{s.whole, crc}
		var sha hash.Hash
		if s.signed && s.count() > 1 {
			sha = sha256.New()
			sums = append(sums, sha)
		}
		part := s.section(len(s.parts))
		read, err := io.CopyBuffer(sums, part, s.buffer)
		if err != nil {
			return partSum{}, err
		}
		if read != part.Size() {
			return partSum{}, fmt.Errorf("%w: it became shorter", errChanged)
		}
		sum := partSum{crc32c: crc.Sum32()}
		switch {
		case sha != nil:
			sum.sha256 = hex.EncodeToString(sha.Sum(nil))
		case s.signed: // the only part is the whole
			sum.sha256 = s.hexDigest()
		}
		s.parts = append(s.parts, sum)
	}
	return s.parts[n], nil
}

// writers is hashes as one writer, which never fails.
type writers []hash.Hash

func (w writers) Write(b []byte) (int, error) {
	for _, h := range w {
		_, _ = h.Write(b)
	}
	return len(b), nil
}

// digest is the SHA-256 of the whole, once all parts are summed.
func (s *source) digest() []byte { return s.whole.Sum(nil) }

func (s *source) hexDigest() string { return hex.EncodeToString(s.digest()) }

// unchanged fails with errChanged unless the path still names this file with the
// size and time that it had.
func (s *source) unchanged(path string) error {
	now, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(now, s.info) || now.Size() != s.size() || !now.ModTime().Equal(s.modTime()) {
		return errChanged
	}
	return nil
}

func (s *source) close() { _ = s.file.Close() }

func (p partSum) crcText() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, p.crc32c))
}
