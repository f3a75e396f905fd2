package awsapi

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// Limits of the aws-chunked framing. Lines are read through a buffer of
// chunkBuffer bytes, which is the longest line that is accepted.
const (
	chunkBuffer     = 4 << 10
	maxChunkLine    = 256
	maxTrailerBytes = 4 << 10
	maxTrailers     = 8
	minChunk        = 8 << 10 // of every chunk but the last
	maxChunkDigits  = 16
)

const (
	signatureExtension = "chunk-signature="
	trailerSignature   = "x-amz-trailer-signature"
)

// chunked decodes the aws-chunked coding and verifies its signatures.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
// and sigv4-streaming-trailers.html.
type chunked struct {
	src       *bufio.Reader
	signature *Signature // nil: chunks are not signed
	previous  [32]byte   // the signature before this one in the chain
	announced []string   // trailers that must come, canonical names
	trailer   http.Header

	left  int64 // of the current chunk
	open  bool  // a chunk has begun and its end was not read yet
	short bool  // the current chunk is shorter than minChunk
	hash  hash.Hash
	want  [32]byte // the current chunk's signature
}

func newChunked(r *http.Request, s *Signature, kind PayloadKind, src io.Reader) (*chunked, error) {
	c := &chunked{src: bufio.NewReaderSize(src, chunkBuffer)}
	if kind != PayloadUnsignedTrailer {
		c.signature, c.previous, c.hash = s, s.sum, sha256.New()
	}
	if kind == PayloadChunked {
		return c, nil
	}
	for _, line := range r.Header[headerTrailer] {
		for name := range strings.SplitSeq(line, ",") {
			name = textproto.TrimString(name)
			if !lowerToken(strings.ToLower(name)) || len(c.announced) == maxTrailers {
				return nil, refuse(ReasonTrailer, "The value of x-amz-trailer is not a list of header names")
			}
			c.announced = append(c.announced, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
	return c, nil
}

// read returns bytes of the current chunk, at most left of them; io.EOF follows
// the last chunk, its trailer and the end of the source.
func (c *chunked) read(p []byte, left int64) (int, error) {
	if c.left == 0 {
		if c.open {
			if err := c.endChunk(); err != nil {
				return 0, err
			}
		}
		if err := c.beginChunk(left); err != nil {
			return 0, err
		}
	}
	n, err := c.src.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.hash != nil {
		c.hash.Write(p[:n])
	}
	if errors.Is(err, io.EOF) {
		err = truncated()
	}
	return n, err
}

// beginChunk reads a chunk's header; at the last chunk it reads all the rest
// and returns io.EOF.
func (c *chunked) beginChunk(left int64) error {
	line, err := c.line(maxChunkLine)
	if err != nil {
		return readError(err)
	}
	size, extension, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseUint(string(size), 16, 63)
	if err != nil || len(size) > maxChunkDigits {
		return refuse(ReasonChunk, "A chunk does not begin with its size")
	}
	if c.signature != nil {
		if err := c.parseChunkSignature(extension); err != nil {
			return err
		}
	}
	if n == 0 {
		return c.end()
	}
	if c.short {
		return refuse(ReasonChunkSize, "Only the last chunk is allowed to have a size less than 8192 bytes")
	}
	if n > uint64(left) { //nolint:gosec // left is what remains of a length: not negative
		return refuse(ReasonIncomplete, "The body is longer than x-amz-decoded-content-length")
	}
	c.left, c.open, c.short = int64(n), true, n < minChunk
	return nil
}

func (c *chunked) parseChunkSignature(extension []byte) error {
	text, ok := bytes.CutPrefix(extension, []byte(signatureExtension))
	if !ok || len(text) != hex.EncodedLen(len(c.want)) {
		return refuse(ReasonChunk, "A chunk has no signature")
	}
	if _, err := hex.Decode(c.want[:], text); err != nil {
		return refuse(ReasonChunk, "The signature of a chunk is not hexadecimal")
	}
	return nil
}

// endChunk reads the line end after a chunk's bytes and verifies it.
func (c *chunked) endChunk() error {
	var end [2]byte
	if _, err := io.ReadFull(c.src, end[:]); err != nil {
		return readError(err)
	}
	if end != [2]byte{'\r', '\n'} {
		return refuse(ReasonChunk, "A chunk is longer than its declared size")
	}
	c.open = false
	return c.verifyChunk()
}

func (c *chunked) verifyChunk() error {
	if c.signature == nil {
		return nil
	}
	var sum [sha256.Size]byte
	c.hash.Sum(sum[:0])
	c.hash.Reset()
	empty := sha256.Sum256(nil)
	return c.verify("AWS4-HMAC-SHA256-PAYLOAD", empty[:], sum[:])
}

// verify checks c.want over the hashes and makes it the next link's previous.
func (c *chunked) verify(algorithm string, hashes ...[]byte) error {
	text := c.signature.appendScope(append(make([]byte, 0, 512), algorithm...))
	text = hex.AppendEncode(text, c.previous[:])
	for _, h := range hashes {
		text = hex.AppendEncode(append(text, '\n'), h)
	}
	if subtle.ConstantTimeCompare(sign(c.signature.key, text), c.want[:]) != 1 {
		return refuse(ReasonSignature, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	c.previous = c.want
	return nil
}

// end verifies the last chunk, reads the trailer to the end of the source and
// returns io.EOF if all is well.
func (c *chunked) end() error {
	if err := c.verifyChunk(); err != nil {
		return err
	}
	canonical, err := c.readTrailer()
	if err != nil {
		return err
	}
	for _, name := range c.announced {
		if len(c.trailer[name]) != 1 {
			return malformedTrailer()
		}
	}
	if len(c.trailer) != len(c.announced) {
		return malformedTrailer()
	}
	if c.signature != nil && len(c.announced) > 0 {
		sum := sha256.Sum256(canonical)
		if err := c.verify("AWS4-HMAC-SHA256-TRAILER", sum[:]); err != nil {
			return err
		}
	}
	return io.EOF
}

// readTrailer reads the lines after the last chunk. Clients end them
// differently, so empty lines count for nothing.
func (c *chunked) readTrailer() (canonical []byte, err error) {
	c.want = [32]byte{}
	for total := 0; ; {
		line, err := c.line(maxTrailerBytes - total)
		if errors.Is(err, io.EOF) {
			return canonical, nil
		}
		if err != nil {
			return nil, err
		}
		total += len(line) + 1
		if len(line) == 0 {
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		name, value = strings.ToLower(name), textproto.TrimString(value)
		if !ok || !lowerToken(name) {
			return nil, malformedTrailer()
		}
		if name == trailerSignature && c.signature != nil {
			if len(value) != hex.EncodedLen(len(c.want)) {
				return nil, malformedTrailer()
			}
			if _, err := hex.Decode(c.want[:], []byte(value)); err != nil {
				return nil, malformedTrailer()
			}
			continue
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		if !slices.Contains(c.announced, key) {
			return nil, malformedTrailer()
		}
		if c.trailer == nil {
			c.trailer = make(http.Header, len(c.announced))
		}
		c.trailer.Add(key, value)
		canonical = append(canonical, name+":"+value+"\n"...)
	}
}

// line reads one line without its end. It returns io.EOF only where nothing at
// all is left.
func (c *chunked) line(limit int) ([]byte, error) {
	line, err := c.src.ReadSlice('\n')
	switch {
	case err == nil && len(line) <= limit:
		return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		return nil, refuse(ReasonChunk, "A line of the chunked body is too long")
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	default:
		return nil, readError(err)
	}
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return truncated()
	}
	return err
}

func truncated() *RequestError {
	return refuse(ReasonIncomplete, "The request body terminated unexpectedly")
}

func malformedTrailer() *RequestError {
	return refuse(ReasonTrailer, "The request contained trailing data that was not well-formed or did not conform to our published schema.")
}
