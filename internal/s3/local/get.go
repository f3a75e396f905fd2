package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"sync"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// errGone tells that an object was replaced between reading its row and opening its data.
var errGone = errors.New("replaced meanwhile")

// retries bounds how often a read or a completion starts over because others write.
const retries = 16

// Get returns an object, a part of it or its description.
func (e *Engine) Get(ctx context.Context, in *s3.GetInput) (*s3.Object, error) {
	for range retries {
		r, err := e.cfg.Store.Object(ctx, in.Bucket.ID, in.Key, !in.HeadOnly)
		if err != nil {
			return nil, err
		}
		o, err := e.read(ctx, &r, in)
		if !errors.Is(err, errGone) {
			return o, err
		}
	}
	return nil, errGone
}

func (e *Engine) read(ctx context.Context, r *Record, in *s3.GetInput) (*s3.Object, error) {
	info, err := r.info()
	if err != nil {
		return nil, err
	}
	if err := in.If.Check(&info); err != nil {
		return nil, err
	}
	o := &s3.Object{Info: info, Length: info.Size}
	if asked := in.RangeFor(&info); asked != nil {
		if o.Offset, o.Length, err = asked.Resolve(info.Size); err != nil {
			return nil, err
		}
		o.Partial = true
	}
	if r.Layout > 0 {
		return o, e.readParts(ctx, r, o, in)
	}
	if in.PartNumber > 1 {
		return nil, noSuchPart()
	}
	o.Partial = o.Partial || in.PartNumber == 1
	switch {
	case in.HeadOnly:
	case r.Layout == Inline:
		if int64(len(r.Data)) != r.Size {
			return nil, fmt.Errorf("object %s has %d bytes of %d", r.Version, len(r.Data), r.Size)
		}
		o.Body = &memory{rest: r.Data[o.Offset : o.Offset+o.Length]}
	default:
		f, err := e.openData(r.Version)
		if err != nil {
			return nil, err
		}
		o.Body = &sections{list: []section{{id: r.Version, offset: o.Offset, length: o.Length}}, file: f}
	}
	return o, nil
}

func noSuchPart() error {
	return iot.Errorf(iot.KindInvalid, "part-range", "The requested partnumber is not satisfiable")
}

func (e *Engine) openData(id ID) (*os.File, error) {
	f, err := e.files.open(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("open data file: %w", err)
	}
	return f, nil
}

// readParts completes o for an object of parts.
func (e *Engine) readParts(ctx context.Context, r *Record, o *s3.Object, in *s3.GetInput) error {
	if in.HeadOnly && in.PartNumber == 0 && in.MaxParts == 0 {
		return nil
	}
	if !e.pins.pin(r.Version) {
		return errGone
	}
	keep := false
	defer func() {
		if !keep {
			e.pins.unpin(r.Version)
		}
	}()
	m, err := e.manifests.Get(ctx, r.Version)
	if err != nil {
		return err
	}
	if len(m.parts) != int(r.Layout) {
		e.manifests.Drop(r.Version)
		return errGone
	}
	m.page(o, in)
	if in.PartNumber > 0 {
		i := sort.Search(len(m.parts), func(i int) bool { return m.parts[i].Number >= in.PartNumber })
		if i == len(m.parts) || m.parts[i].Number != in.PartNumber {
			return noSuchPart()
		}
		o.Offset, o.Length, o.Partial = m.starts[i], m.parts[i].Size, true
		p := m.parts[i].describe()
		o.PartInfo = &p
	}
	if in.HeadOnly {
		return nil
	}
	b := &sections{engine: e, list: m.sections(o.Offset, o.Length)}
	if len(b.list) > 0 {
		if b.file, err = e.openData(b.list[0].id); err != nil {
			return err
		}
	}
	keep = true
	b.release = func() { e.pins.unpin(r.Version) }
	o.Body = b
	return nil
}

func (p *Part) describe() s3.Part {
	return s3.Part{Number: p.Number, Size: p.Size, ETag: p.ETag, Modified: p.Modified, Checksum: s3.ParseChecksum(p.Checksum)}
}

// manifest is the list of parts of a completed object. It never changes.
type manifest struct {
	parts  []Part
	starts []int64
}

func (e *Engine) loadManifest(ctx context.Context, upload ID) (*manifest, error) {
	parts, err := e.cfg.Store.Parts(ctx, upload, 0, s3.MaxPart)
	if err != nil {
		return nil, err
	}
	m := &manifest{parts: parts, starts: make([]int64, len(parts))}
	var at int64
	for i := range parts {
		m.starts[i] = at
		at += parts[i].Size
	}
	return m, nil
}

// page lists parts in o, as many as were asked for.
func (m *manifest) page(o *s3.Object, in *s3.GetInput) {
	from := sort.Search(len(m.parts), func(i int) bool { return m.parts[i].Number > in.AfterParts })
	to := min(from+in.MaxParts, len(m.parts))
	for i := from; i < to; i++ {
		o.PartList = append(o.PartList, m.parts[i].describe())
	}
	o.MoreParts = to < len(m.parts)
}

// sections returns where the bytes of a range are.
func (m *manifest) sections(offset, length int64) []section {
	var list []section
	i := sort.Search(len(m.starts), func(i int) bool { return m.starts[i]+m.parts[i].Size > offset })
	for ; i < len(m.parts) && length > 0; i++ {
		skip := offset - m.starts[i]
		n := min(length, m.parts[i].Size-skip)
		if n > 0 {
			list = append(list, section{id: m.parts[i].Blob, offset: skip, length: n})
		}
		offset += n
		length -= n
	}
	return list
}

// section is a stretch of a data file.
type section struct {
	id             ID
	offset, length int64
}

// sections are the bytes of an object in files, read one after the other.
type sections struct {
	engine  *Engine // nil for a single file
	list    []section
	file    *os.File // of list[0], once open
	placed  bool     // file stands at list[0].offset
	release func()
}

// next makes the file of the first section ready, or returns io.EOF.
func (s *sections) next() error {
	for len(s.list) > 0 && s.list[0].length == 0 {
		s.shut()
		s.list = s.list[1:]
	}
	if len(s.list) == 0 {
		return io.EOF
	}
	if s.file == nil {
		f, err := s.engine.openData(s.list[0].id)
		if err != nil {
			return err
		}
		s.file = f
	}
	if !s.placed && s.list[0].offset != 0 {
		if _, err := s.file.Seek(s.list[0].offset, io.SeekStart); err != nil {
			return fmt.Errorf("seek in data file: %w", err)
		}
	}
	s.placed = true
	return nil
}

// Read reads on.
func (s *sections) Read(p []byte) (int, error) {
	if err := s.next(); err != nil {
		return 0, err
	}
	n, err := s.file.Read(p[:min(int64(len(p)), s.list[0].length)])
	s.list[0].length -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // a data file is never shorter than its row says
	}
	return n, err
}

// WriteTo gives w the files themselves, so that it may use sendfile.
func (s *sections) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if err := s.next(); err != nil {
			if errors.Is(err, io.EOF) {
				return total, nil
			}
			return total, err
		}
		n, err := io.CopyN(w, s.file, s.list[0].length)
		total += n
		s.list[0].length -= n
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return total, err
		}
	}
}

func (s *sections) shut() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	s.placed = false
}

// Close ends the reading.
func (s *sections) Close() error {
	s.shut()
	s.list = nil
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// memory is the body of an inline object.
type memory struct{ rest []byte }

// Read reads on.
func (m *memory) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// WriteTo writes all at once.
func (m *memory) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m.rest)
	m.rest = m.rest[n:]
	return int64(n), err
}

// Close does nothing.
func (m *memory) Close() error { return nil }

// pins keep the files of an object of parts while somebody reads it, because
// a reader opens them one by one. A file of its own needs none: it stays
// readable while it is open.
type pins struct {
	released func() // called when the last pin of something doomed is gone

	mu     sync.Mutex // guards the fields below
	count  map[ID]int
	wanted map[ID]bool // the reaper found it pinned
	doomed map[ID]bool // the reaper is removing it
}

// pin reports whether the files of id stay until unpin.
func (p *pins) pin(id ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doomed[id] {
		return false
	}
	if p.count == nil {
		p.count = map[ID]int{}
	}
	p.count[id]++
	return true
}

func (p *pins) unpin(id ID) {
	p.mu.Lock()
	p.count[id]--
	last := p.count[id] == 0
	wanted := false
	if last {
		delete(p.count, id)
		wanted = p.wanted[id]
		delete(p.wanted, id)
	}
	p.mu.Unlock()
	if wanted {
		p.released()
	}
}

// doom reports whether id may be removed now; then nobody can pin it until spared.
func (p *pins) doom(id ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[id] > 0 {
		if p.wanted == nil {
			p.wanted = map[ID]bool{}
		}
		p.wanted[id] = true
		return false
	}
	if p.doomed == nil {
		p.doomed = map[ID]bool{}
	}
	p.doomed[id] = true
	return true
}

func (p *pins) spare(id ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.doomed, id)
}
