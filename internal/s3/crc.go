package s3

import "hash/crc32"

// nvmePoly is the CRC-64/NVME polynomial, reflected.
const nvmePoly = 0x9a6c9329ac4bc9b5

// combineCRC returns the CRC of two blocks of bytes joined, from the CRC of
// each and the length of the second: crc(AB) = crc(A)·x^(8·|B|) + crc(B) over
// GF(2), as zlib's crc32_combine does it. Appending the first block to nothing
// needs no special case: the CRC of no bytes is 0.
func combineCRC(a Algorithm, first, second, length uint64) uint64 {
	f := field{poly: nvmePoly, top: 1 << 63}
	if a == AlgorithmCRC32 {
		f = field{poly: crc32.IEEE, top: 1 << 31}
	}
	if a == AlgorithmCRC32C {
		f = field{poly: crc32.Castagnoli, top: 1 << 31}
	}
	return f.mul(f.power(length), first) ^ second
}

// field is GF(2)[x] modulo a reflected polynomial; top is the bit that stands for 1.
type field struct{ poly, top uint64 }

func (f field) mul(a, b uint64) uint64 {
	var p uint64
	for m := f.top; m != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ f.poly
		} else {
			b >>= 1
		}
	}
	return p
}

// power returns x^(8n).
func (f field) power(n uint64) uint64 {
	p := f.top
	for sq := f.top >> 8; n != 0; n >>= 1 { // top>>8 is x^8
		if n&1 != 0 {
			p = f.mul(p, sq)
		}
		sq = f.mul(sq, sq)
	}
	return p
}
