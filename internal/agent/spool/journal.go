package spool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// line is a record as it stands in the journal: CRC-32C in hex, a space, JSON.
func line(r *Record) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", checksum(b), b), nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func parse(text []byte) (*Record, error) {
	sum, body, ok := bytes.Cut(text, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%08x", checksum(body)) {
		return nil, errors.New("its checksum is wrong")
	}
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	if r.ID == "" || r.Path == "" {
		return nil, errors.New("it is no record")
	}
	switch r.State {
	case Pending, Stored, Noticed, Failed, Done:
		return &r, nil
	default:
		return nil, fmt.Errorf("state %q is of a newer agent", r.State)
	}
}

// load reads the journal. What a crash left of its last write is cut off; damage
// before that is an error, since records may be missing.
func (s *Spool) load() error {
	path := filepath.Join(s.dir, journalFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // the folder that the operator named
	if err != nil {
		return unusable(s.dir, err)
	}
	s.journal = f
	in := bufio.NewReader(f)
	var at int64
	var damage error
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("spool: read %s: %w", path, err)
		}
		if len(text) == 0 {
			break
		}
		at += int64(len(text))
		r, bad := parse(bytes.TrimSuffix(text, []byte("\n")))
		switch {
		case bad == nil && err == nil && damage != nil:
			return damage
		case bad == nil && err == nil:
			r.Keep = r.Keep && (r.State != Done || !gone(r.Path))
			s.apply(r)
			s.lines++
			s.size = at
		case damage == nil:
			damage = fmt.Errorf("spool: %s is damaged in line %d (%w): what was accepted cannot be known. Keep a copy of the folder, "+
				"move it away, and give the files again that did not arrive", path, n, errors.Join(bad, err))
		}
	}
	if s.size == at {
		return nil
	}
	if err := f.Truncate(s.size); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// write appends records as one write, and takes back what a full disk left of it.
func (s *Spool) write(records []Record) (batch uint64, err error) {
	var b []byte
	for i := range records {
		text, err := line(&records[i])
		if err != nil {
			return 0, err
		}
		b = append(b, text...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return 0, errClosed
	}
	if _, err := s.journal.Write(b); err != nil {
		return 0, errors.Join(err, s.journal.Truncate(s.size))
	}
	s.size += int64(len(b))
	s.lines += len(records)
	s.written++
	for i := range records {
		s.apply(&records[i])
	}
	if s.lines > s.compact {
		// What cannot be written anew, as on a full disk, is good as it is.
		_ = s.rewrite()
		s.compact = max(compactFrom, 4*(len(s.records)+len(s.done)), 2*s.lines)
	}
	return s.written, nil
}

// rewrite writes the journal anew with what is still needed. The caller holds mu, or is alone.
func (s *Spool) rewrite() (err error) {
	path := filepath.Join(s.dir, journalFile)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600) //nolint:gosec // the folder that the operator named
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("spool: compact: %w", err), f.Close())
		}
	}()
	out := bufio.NewWriter(f)
	var size int64
	lines := 0
	write := func(r *Record) error {
		text, err := line(r)
		if err != nil {
			return err
		}
		size += int64(len(text))
		lines++
		_, err = out.Write(text)
		return err
	}
	if err := s.copyDone(write); err != nil {
		return err
	}
	for r := range s.ordered {
		if err := write(&r); err != nil {
			return err
		}
	}
	if err := errors.Join(out.Flush(), f.Sync()); err != nil {
		return err
	}
	if err := replace(path+".new", path, &s.journal, f); err != nil {
		return err
	}
	s.size, s.lines = size, lines
	return syncDir(s.dir)
}

// copyDone writes what is remembered as done, whose paths are in the journal alone.
func (s *Spool) copyDone(write func(*Record) error) error {
	in := bufio.NewReader(io.NewSectionReader(s.journal, 0, s.size))
	for {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := parse(bytes.TrimSuffix(text, []byte("\n")))
		if err != nil {
			return err
		}
		if r.State != Done || !r.Keep {
			continue
		}
		key := KeyOf(r.Path)
		if v, ok := s.done[key]; !ok || v != versionOf(r) {
			continue
		}
		if gone(r.Path) {
			delete(s.done, key)
			continue
		}
		if err := write(&Record{ID: r.ID, Path: r.Path, Size: r.Size, ModTime: r.ModTime, State: Done, Keep: true}); err != nil {
			return err
		}
	}
}

// ordered yields what is not done; of records with the same path the last one has it.
func (s *Spool) ordered(yield func(Record) bool) {
	for _, has := range []bool{false, true} {
		for id, r := range s.records {
			if (s.paths[r.Path] == id) == has && !yield(r) {
				return
			}
		}
	}
}
