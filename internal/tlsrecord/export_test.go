package tlsrecord

import "testing"

// Pair returns both ends of a connection with keys of its own.
func Pair(tb testing.TB, tls13, big bool) (server, client *Conn) {
	tb.Helper()
	s := suite{tls13: tls13, sha384: big, key: 16}
	if big {
		s.key = 32
	}
	server = &Conn{suite: s}
	var err error
	secret := make([]byte, maxSecret)
	for i := range secret {
		secret[i] = byte(i)
	}
	if tls13 {
		if err = server.in.traffic(s, secret[:s.secret()]); err == nil {
			secret[0]++
			err = server.out.traffic(s, secret[:s.secret()])
		}
	} else {
		err = server.keys12(secret, make([]byte, randomSize), secret[:randomSize])
	}
	if err != nil {
		tb.Fatal(err)
	}
	return server, Peer(server)
}

// Peer is the other end of c.
func Peer(c *Conn) *Conn {
	p := &Conn{suite: c.suite, in: c.out, out: c.in}
	return p
}

// Of13 is the receiving end of TLS_AES_128_GCM_SHA256 with that traffic secret.
func Of13(tb testing.TB, secret []byte) *Conn {
	tb.Helper()
	c := &Conn{suite: suite{tls13: true, key: 16}}
	if err := c.in.traffic(c.suite, secret); err != nil {
		tb.Fatal(err)
	}
	return c
}

// SealAs appends one record of any type.
func (c *Conn) SealAs(dst []byte, kind byte, data []byte) []byte { return c.seal(dst, kind, data) }

// Rekey appends records with handshake messages, and goes on to the next key.
func (c *Conn) Rekey(dst []byte, messages ...[]byte) []byte {
	for _, m := range messages {
		dst = c.seal(dst, typeHandshake, m)
	}
	c.outErr = c.out.next(c.suite)
	return dst
}

// Wear uses up the key that c seals with but for a few records.
func (c *Conn) Wear() { c.out.blocks = maxBlocks - 1 }

// WearSequence uses up the numbers of records that come.
func (c *Conn) WearSequence() { c.in.seq = 1<<64 - 1 }

// Holds is how many bytes c keeps of a record.
func (c *Conn) Holds() int { return cap(c.partial) }

// Secrets is what h holds of secrets.
func (h *Handshake) Secrets() (client, server []byte) { return h.client[:], h.server[:] }
