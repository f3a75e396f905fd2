package tlsrecord

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"hash"
)

const (
	maxSecret = 48 // of SHA-384, and the master secret of TLS 1.2
	ivSize    = 12
	saltSize  = 4 // of the nonce in TLS 1.2
)

// suite is what a version and a cipher suite come to.
type suite struct {
	tls13  bool
	sha384 bool
	key    uint8 // bytes
}

// suiteOf returns false for what is not spoken here.
func suiteOf(version, id uint16) (suite, bool) {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return suite{tls13: true, key: 16}, version == tls.VersionTLS13
	case tls.TLS_AES_256_GCM_SHA384:
		return suite{tls13: true, key: 32, sha384: true}, version == tls.VersionTLS13
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:
		return suite{key: 16}, version == tls.VersionTLS12
	case tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:
		return suite{key: 32, sha384: true}, version == tls.VersionTLS12
	}
	return suite{}, false
}

func (s suite) hash() func() hash.Hash {
	if s.sha384 {
		return sha512.New384
	}
	return sha256.New
}

// secret is the size of a secret.
func (s suite) secret() int {
	switch {
	case !s.tls13 || s.sha384:
		return maxSecret
	default:
		return sha256.Size
	}
}

// expand is HKDF-Expand-Label of RFC 8446 section 7.1, without a context.
func (s suite) expand(secret []byte, label string, n int) ([]byte, error) {
	info := binary.BigEndian.AppendUint16(make([]byte, 0, 32), uint16(n)) //nolint:gosec // the size of a key
	label = "tls13 " + label
	info = append(append(info, byte(len(label))), label...) //nolint:gosec // a few bytes
	return hkdf.Expand(s.hash(), secret, string(append(info, 0)), n)
}

// prf is the pseudorandom function of RFC 5246 section 5.
func (s suite) prf(n int, secret []byte, label string, seed ...[]byte) []byte {
	mac := hmac.New(s.hash(), secret)
	write := func() {
		mac.Write([]byte(label))
		for _, b := range seed {
			mac.Write(b)
		}
	}
	write()
	a := mac.Sum(nil)
	out := make([]byte, 0, n+mac.Size())
	for len(out) < n {
		mac.Reset()
		mac.Write(a)
		write()
		out = mac.Sum(out)
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(a[:0])
	}
	return out[:n]
}

// half is one direction.
type half struct {
	aead   cipher.AEAD
	seq    uint64 // of the next record
	blocks uint64 // that the key has protected
	iv     [ivSize]byte
	secret [maxSecret]byte // of TLS 1.3: the traffic secret
}

// maxBlocks is RFC 8446 section 5.5: 2^24.5 full records of AES-GCM under one
// key. In blocks of 16 bytes, since most records are small.
const maxBlocks = 23_726_566 << 10

// used counts what a record of n bytes takes of the key, with the blocks that
// hide the tag and protect the lengths.
func (h *half) used(n int) {
	h.seq++
	h.blocks += uint64(n)/aes.BlockSize + 3 //nolint:gosec // not negative
}

func (h *half) spent() bool { return h.blocks >= maxBlocks || h.seq == 1<<64-1 }

// rekey sets the key and starts its sequence.
func (h *half) rekey(key, iv []byte, first uint64) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	if h.aead, err = cipher.NewGCM(block); err != nil {
		return err
	}
	copy(h.iv[:], iv)
	h.seq, h.blocks = first, 0
	return nil
}

// traffic derives the keys of a traffic secret, RFC 8446 section 7.3.
func (h *half) traffic(s suite, secret []byte) error {
	key, err := s.expand(secret, "key", int(s.key))
	if err != nil {
		return err
	}
	defer clear(key)
	iv, err := s.expand(secret, "iv", ivSize)
	if err != nil {
		return err
	}
	copy(h.secret[:], secret)
	return h.rekey(key, iv, 0)
}

// next goes on to the next traffic secret, RFC 8446 section 7.2.
func (h *half) next(s suite) error {
	secret, err := s.expand(h.secret[:s.secret()], "traffic upd", s.secret())
	if err != nil {
		return err
	}
	defer clear(secret)
	return h.traffic(s, secret)
}

// keys12 derives the keys of both directions, RFC 5246 section 6.3. The
// Finished message of either was record 0.
func (c *Conn) keys12(master, clientRandom, serverRandom []byte) error {
	n := int(c.suite.key)
	block := c.suite.prf(2*n+2*saltSize, master, "key expansion", serverRandom, clientRandom)
	defer clear(block)
	salts := block[2*n:]
	if err := c.in.rekey(block[:n], salts[:saltSize], 1); err != nil {
		return err
	}
	return c.out.rekey(block[n:2*n], salts[saltSize:], 1)
}
