package sts

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Rotated says what a rotation did.
type Rotated struct {
	Key     uint32    // the new current key
	Created time.Time // of it
	Retired []uint32  // keys whose sessions go on until Until
	Until   time.Time
	Dropped []uint32 // keys whose sessions ended
}

// Rotate makes a new current key; when it returns, that is on disk. What the
// old ones sealed for sessions opens for as long as the longest session lasts,
// or, where they are compromised, no more from now on. What they sealed at rest
// opens until Forget: it is for the caller to seal it anew.
func (r *KeyRing) Rotate(compromised bool) (*Rotated, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	next := uint32(1)
	for _, e := range r.file.Keys {
		next = max(next, e.ID+1)
	}
	fresh, err := newEntry(next, r.random, now)
	if err != nil {
		return nil, err
	}
	derived, err := deriveKeys(fresh)
	if err != nil {
		return nil, err
	}
	out := &Rotated{Key: fresh.ID, Created: fresh.Created, Until: now.Add(maxSession).UTC()}
	file := keyFile{Keys: []keyFileEntry{fresh}}
	for _, e := range r.file.Keys {
		if e.Retired == nil {
			at := now.UTC()
			e.Retired = &at
		}
		if e.Compromised = e.Compromised || compromised; e.Compromised {
			out.Dropped = append(out.Dropped, e.ID)
		} else if now.Before(e.Retired.Add(maxSession)) {
			out.Retired = append(out.Retired, e.ID)
		}
		file.Keys = append(file.Keys, e)
	}
	if err := r.save(file); err != nil {
		return nil, fmt.Errorf("rotate key ring: %w", err)
	}
	old := *r.keys.Load()
	keys := append([]*masterKey{derived}, old...)
	r.keys.Store(&keys)
	for i, k := range old {
		e := file.Keys[i+1]
		k.retired.Store(e.Retired.UnixNano())
		k.dead.Store(e.Compromised)
	}
	return out, nil
}

// Overdue reports whether there are keys to be forgotten: compromised ones, and
// those whose last session has ended.
func (r *KeyRing) Overdue() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.file.Keys, r.over)
}

func (r *KeyRing) over(e keyFileEntry) bool {
	return e.Compromised || e.Retired != nil && !r.now().Before(e.Retired.Add(maxSession))
}

// Forget removes the overdue keys from memory and disk. Nothing that is kept
// may be sealed with one of them.
func (r *KeyRing) Forget() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.keys.Load()
	var file keyFile
	var keys []*masterKey
	for i, e := range r.file.Keys {
		if !r.over(e) {
			file.Keys, keys = append(file.Keys, e), append(keys, old[i])
		}
	}
	if len(keys) == len(old) {
		return nil
	}
	if err := r.save(file); err != nil {
		return fmt.Errorf("forget old keys: %w", err)
	}
	r.keys.Store(&keys)
	return nil
}

// save replaces the file; r.mu is held. After an error that leaves open which
// of the two is there, what is in memory opens what either has sealed: the old
// file is a part of the new one, or the other way round.
func (r *KeyRing) save(file keyFile) error {
	if r.path == "" {
		return errors.New("the key ring has no file")
	}
	if err := writeKeyFile(r.path, &file, func(from string) error { return os.Rename(from, r.path) }); err != nil {
		return err
	}
	r.file = file
	return nil
}
