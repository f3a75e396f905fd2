// Package tlsrecord carries on a server's TLS connection where crypto/tls has
// done the handshake: the record layer alone, for connections that must cost
// little while they are idle, and that nobody blocks on.
//
// A Handshake watches one handshake of crypto/tls: it is the KeyLogWriter, sees
// the bytes both ways, and keeps crypto/tls from reading past the record it
// waits for. Take then gives a Conn: the AEADs, the sequence numbers, and what
// was read too much. What Take does not know for certain it declines, and the
// connection stays crypto/tls's: suites other than AES-GCM with (EC)DHE,
// records sent after the server's Finished, anything read after the client's.
//
// Invariants:
//   - Secrets are written nowhere. They are cleared once keys are derived from
//     them, or when they are not used; the traffic secrets of TLS 1.3 stay for
//     as long as the connection, since key updates are derived from them. What
//     crypto/tls and crypto/aes keep of keys themselves is theirs.
//   - Nothing of a record is given out before the record is authenticated. After
//     the first error nothing is opened or sealed any more.
//   - A sequence number is used once under a key (RFC 8446 section 5.3, RFC 5288
//     section 3); a key protects no more than RFC 8446 section 5.5 allows.
//   - An idle Conn holds no buffer but the beginning of a record that has come.
//
// TLS 1.3 is RFC 8446: records section 5, keys 7.1 to 7.3, KeyUpdate 4.6.3,
// alerts 6. TLS 1.2 is RFC 5246 with the suites of RFC 5288 and 5289: records
// section 6.2, keys 5 and 6.3; there is no renegotiation.
package tlsrecord
