package sts

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

const (
	xaesNonce = 24
	xaesTag   = 16
)

var errSeal = errors.New("not sealed by this key")

// xaes is XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM under a key
// derived from half of a 24-byte nonce, so that random nonces never run out
// however many tokens are handed out.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
}

func newXAES(key []byte) (*xaes, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: b}
	b.Encrypt(x.k1[:], x.k1[:])
	msb := byte(0)
	for i := len(x.k1) - 1; i >= 0; i-- {
		msb, x.k1[i] = x.k1[i]>>7, x.k1[i]<<1|msb
	}
	x.k1[len(x.k1)-1] ^= msb * 0b10000111
	return x, nil
}

// aead returns the AES-256-GCM of a nonce, whose other half is the GCM nonce.
func (x *xaes) aead(nonce []byte) (cipher.AEAD, error) {
	var k [2 * aes.BlockSize]byte
	for i := range 2 {
		m := k[i*aes.BlockSize : (i+1)*aes.BlockSize]
		copy(m, []byte{0, byte(i + 1), 'X', 0})
		copy(m[4:], nonce[:12])
		for j := range m {
			m[j] ^= x.k1[j]
		}
		x.block.Encrypt(m, m)
	}
	b, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// seal appends nonce and ciphertext to dst.
func (x *xaes) seal(dst []byte, random io.Reader, plain, context []byte) ([]byte, error) {
	var nonce [xaesNonce]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	g, err := x.aead(nonce[:])
	if err != nil {
		return nil, err
	}
	dst = append(dst, nonce[:]...)
	return g.Seal(dst, nonce[12:], plain, context), nil
}

func (x *xaes) open(sealed, context []byte) ([]byte, error) {
	if len(sealed) < xaesNonce+xaesTag {
		return nil, errSeal
	}
	g, err := x.aead(sealed[:xaesNonce])
	if err != nil {
		return nil, err
	}
	plain, err := g.Open(nil, sealed[12:xaesNonce], sealed[xaesNonce:], context)
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}
