package sts

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Purpose is one use of the key ring. Every purpose has a key of its own.
type Purpose uint8

// The purposes.
const (
	ForSessionTokens  Purpose = iota // sealing session tokens
	ForSessionSecrets                // the secret keys of sessions
	ForAccessKeys                    // the secrets of long-term keys at rest
	ForPageTokens                    // what continues a listing
	ForMessages                      // why a request was denied, for DecodeAuthorizationMessage
	purposes
)

// label is part of the derivation: it must never change.
func (p Purpose) label() string {
	return [...]string{"session-token", "session-secret", "access-key", "page-token", "authorization-message"}[p]
}

// maxSession is how long a retired key still opens what it sealed for sessions:
// as long as the longest session lasts.
const maxSession = 36 * time.Hour

// keySize is the length of a master key.
const keySize = 32

// KeyRing holds the master keys, the current one first.
type KeyRing struct {
	path   string
	random io.Reader
	now    func() time.Time

	keys atomic.Pointer[[]*masterKey]

	mu   sync.Mutex // guards file, and is held while the ring changes
	file keyFile    // as it stands on disk
}

// masterKey is one master key with what was derived from it.
type masterKey struct {
	id      uint32
	retired atomic.Int64 // Unix nanoseconds; 0 for the current one
	dead    atomic.Bool  // compromised: opens what is at rest until that is sealed anew, and no session
	seals   [purposes]*xaes
	macs    sync.Pool // HMACs of ForSessionSecrets
}

type keyFile struct {
	Keys []keyFileEntry `json:"keys"`
}

type keyFileEntry struct {
	ID      uint32     `json:"id"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty"`
	// Compromised is set until nothing at rest is sealed with the key any more.
	Compromised bool   `json:"compromised,omitempty"`
	Secret      []byte `json:"secret"`
}

// OpenKeyRing reads the key ring of a file that only its owner may read, or
// creates it with one key.
func OpenKeyRing(path string, random io.Reader, now func() time.Time) (*KeyRing, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKeyFile(path, random, now()); err != nil {
			return nil, fmt.Errorf("create key ring: %w", err)
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open key ring: %s is open to other users (mode %04o); make it 0600", path, info.Mode().Perm())
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the operator's own data folder
	if err != nil {
		return nil, fmt.Errorf("open key ring: %w", err)
	}
	r, err := parseKeyRing(raw, random, now)
	if err != nil {
		return nil, fmt.Errorf("read key ring %s: %w", path, err)
	}
	r.path = path
	return r, nil
}

// newEntry makes a master key.
func newEntry(id uint32, random io.Reader, now time.Time) (keyFileEntry, error) {
	e := keyFileEntry{ID: id, Created: now.UTC().Truncate(time.Second), Secret: make([]byte, keySize)}
	if _, err := io.ReadFull(random, e.Secret); err != nil {
		return e, fmt.Errorf("read randomness: %w", err)
	}
	return e, nil
}

// createKeyFile makes the file appear whole or not at all, and never in place of another.
func createKeyFile(path string, random io.Reader, now time.Time) error {
	e, err := newEntry(1, random, now)
	if err != nil {
		return err
	}
	return writeKeyFile(path, &keyFile{Keys: []keyFileEntry{e}}, func(from string) error {
		if err := os.Link(from, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Remove(from)
	})
}

// writeKeyFile has place put the file, which is whole and on disk, where it belongs.
func writeKeyFile(path string, k *keyFile, place func(from string) error) (err error) {
	raw, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // created 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func parseKeyRing(raw []byte, random io.Reader, now func() time.Time) (*KeyRing, error) {
	var f keyFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if len(f.Keys) == 0 || f.Keys[0].Retired != nil {
		return nil, errors.New("there is no current key")
	}
	r := &KeyRing{random: random, now: now, file: f}
	var keys []*masterKey
	for _, e := range f.Keys {
		if len(e.Secret) != keySize || e.ID == 0 || findKey(keys, e.ID) != nil {
			return nil, fmt.Errorf("key %d is damaged", e.ID)
		}
		k, err := deriveKeys(e)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	r.keys.Store(&keys)
	return r, nil
}

func deriveKeys(e keyFileEntry) (*masterKey, error) {
	k := &masterKey{id: e.ID}
	if e.Retired != nil {
		k.retired.Store(e.Retired.UnixNano())
	}
	k.dead.Store(e.Compromised)
	for p := range purposes {
		key, err := hkdf.Key(sha256.New, e.Secret, nil, "sekisho/1/"+p.label(), keySize)
		if err != nil {
			return nil, fmt.Errorf("derive key: %w", err)
		}
		if p == ForSessionSecrets {
			k.macs.New = func() any { return hmac.New(sha256.New, key) }
			continue
		}
		if k.seals[p], err = newXAES(key); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func (r *KeyRing) current() *masterKey { return (*r.keys.Load())[0] }

func (r *KeyRing) find(id uint32) *masterKey { return findKey(*r.keys.Load(), id) }

func findKey(keys []*masterKey, id uint32) *masterKey {
	for _, k := range keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// live reports whether what the key made for sessions still counts.
func (k *masterKey) live(now time.Time) bool {
	retired := k.retired.Load()
	return !k.dead.Load() && (retired == 0 || now.Before(time.Unix(0, retired).Add(maxSession)))
}

// secret is the secret access key of a session: 40 characters, as AWS's are.
func (k *masterKey) secret(accessKeyID string) string {
	mac := k.macs.Get().(hash.Hash) //nolint:forcetypeassert // what New puts there
	defer k.macs.Put(mac)
	mac.Reset()
	_, _ = io.WriteString(mac, accessKeyID) // a hash takes everything
	var sum [sha256.Size]byte
	return base64.StdEncoding.EncodeToString(mac.Sum(sum[:0])[:30])
}

// Sealer seals for one purpose with the current key, and opens what any key of
// the ring has sealed for it.
type Sealer struct {
	ring    *KeyRing
	purpose Purpose
}

// Sealer returns the sealer of a purpose other than ForSessionSecrets.
func (r *KeyRing) Sealer(p Purpose) *Sealer { return &Sealer{ring: r, purpose: p} }

// sealHeader is the format's version and the key's id, before nonce and ciphertext.
const sealHeader = 1 + 4

const sealVersion = 1

// Seal encrypts plain. It opens only with the same context.
func (s *Sealer) Seal(plain, context []byte) ([]byte, error) {
	return s.sealWith(s.ring.current(), plain, context)
}

func (s *Sealer) sealWith(k *masterKey, plain, context []byte) ([]byte, error) {
	out := make([]byte, 0, sealHeader+xaesNonce+len(plain)+xaesTag)
	out = append(out, sealVersion)
	out = binary.BigEndian.AppendUint32(out, k.id)
	return k.seals[s.purpose].seal(out, s.ring.random, plain, context)
}

// Open decrypts what Seal made.
func (s *Sealer) Open(sealed, context []byte) ([]byte, error) {
	plain, _, err := s.open(sealed, context)
	return plain, err
}

func (s *Sealer) open(sealed, context []byte) ([]byte, *masterKey, error) {
	if len(sealed) < sealHeader || sealed[0] != sealVersion {
		return nil, nil, errSeal
	}
	k := s.ring.find(binary.BigEndian.Uint32(sealed[1:sealHeader]))
	if k == nil {
		return nil, nil, errSeal
	}
	plain, err := k.seals[s.purpose].open(sealed[sealHeader:], context)
	return plain, k, err
}
