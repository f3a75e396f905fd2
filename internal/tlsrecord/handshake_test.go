package tlsrecord_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os/exec"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sekisho-iot/sekisho/internal/tlsrecord"
)

// watched is a connection under a handshake that is watched.
type watched struct {
	net.Conn
	h    *tlsrecord.Handshake
	from io.Reader // the connection, or how it is read
}

func (w *watched) Read(b []byte) (int, error) { return w.h.Read(b, w.from) }

func (w *watched) Write(b []byte) (int, error) {
	w.h.Sent(b)
	return w.Conn.Write(b)
}

func certificate(t *testing.T, key crypto.Signer) tls.Certificate {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"server"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func p256(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key)
}

func rsa2048(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, key)
}

// config is a server's, as the doors of Sekisho have it.
func config(c tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
}

// server is what a handshake came to.
type server struct {
	net.Conn
	tls   *tls.Conn
	under *watched
	h     *tlsrecord.Handshake
	state tls.ConnectionState
}

// accept runs a server's handshake on c.
func accept(t *testing.T, c net.Conn, conf *tls.Config, oneByOne bool) (*server, error) {
	t.Helper()
	h := new(tlsrecord.Handshake)
	w := &watched{Conn: c, h: h, from: c}
	if oneByOne {
		w.from = iotest.OneByteReader(c)
	}
	conf = conf.Clone()
	conf.KeyLogWriter = h
	s := &server{Conn: c, tls: tls.Server(w, conf), under: w, h: h}
	err := s.tls.HandshakeContext(t.Context())
	s.state = s.tls.ConnectionState()
	return s, err
}

// echo sends back what comes until the peer says good-bye.
func (s *server) echo(c *tlsrecord.Conn) error {
	b := make([]byte, 64<<10)
	var out []byte
	for n, early := 0, true; ; early = false {
		k := c.Pending(b)
		n = k
		if !early || k == 0 {
			m, err := s.Read(b[k:])
			if err != nil {
				return err
			}
			n += m
		}
		n, reply, err := c.Open(b[:n], out[:0])
		if out, _ = c.Seal(reply, b[:n]); errors.Is(err, io.EOF) {
			out = c.Close(out)
		}
		if _, writing := s.Write(out); writing != nil {
			return writing
		}
		if err != nil {
			return err
		}
	}
}

// pipe is a TCP connection.
func pipe(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err = new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// talk has a client send and receive, and say good-bye.
func talk(c *tls.Conn) error {
	data := random(100_000)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		wrote <- errors.Join(err, c.CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if !bytes.Equal(got, data) {
		err = errors.Join(err, errors.New("not what was sent"))
	}
	return errors.Join(err, <-wrote)
}

func TestHandshakes(t *testing.T) {
	t.Parallel()
	ec, rs := p256(t), rsa2048(t)
	for name, tc := range map[string]struct {
		version uint16
		suite   uint16
		cert    tls.Certificate
		taken   bool
	}{
		"1.3":                       {tls.VersionTLS13, 0, ec, true},
		"1.3 RSA":                   {tls.VersionTLS13, 0, rs, true},
		"1.2 ECDSA AES-128":         {tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ec, true},
		"1.2 ECDSA AES-256":         {tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, ec, true},
		"1.2 RSA AES-128":           {tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, rs, true},
		"1.2 RSA AES-256":           {tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, rs, true},
		"1.2 ECDSA ChaCha20":        {tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, ec, false},
		"1.2 RSA ChaCha20":          {tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, rs, false},
		"1.2 ECDSA CBC":             {tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, ec, false},
		"1.2 RSA key exchange":      {tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, rs, false},
		"1.2 RSA key exchange, CBC": {tls.VersionTLS12, tls.TLS_RSA_WITH_AES_256_CBC_SHA, rs, false},
	} {
		for _, oneByOne := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				near, far := pipe(t)
				conf := config(tc.cert)
				conf.CipherSuites = []uint16{tc.suite}
				client := tls.Client(near, &tls.Config{
					InsecureSkipVerify: true, MaxVersion: tc.version, CipherSuites: conf.CipherSuites, Certificates: []tls.Certificate{ec},
				})
				done := make(chan error, 1)
				go func() { done <- talk(client) }()
				s, err := accept(t, far, conf, oneByOne)
				if err != nil {
					t.Fatal(err)
				}
				if s.state.Version != tc.version || tc.suite != 0 && s.state.CipherSuite != tc.suite {
					t.Fatalf("%s, %s", tls.VersionName(s.state.Version), tls.CipherSuiteName(s.state.CipherSuite))
				}
				c, early := s.h.Take(&s.state)
				if (c != nil) != tc.taken {
					t.Fatalf("taken: %t", c != nil)
				}
				forgotten(t, s.h)
				if c == nil {
					s.carryOn(t, early)
				} else if err := s.echo(c); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// carryOn has crypto/tls echo what comes, after what was read too much.
func (s *server) carryOn(t *testing.T, early []byte) {
	t.Helper()
	s.under.from = io.MultiReader(bytes.NewReader(early), s.Conn)
	if _, err := io.Copy(s.tls, s.tls); err != nil {
		t.Error(err)
	}
	if err := s.tls.CloseWrite(); err != nil {
		t.Error(err)
	}
}

// forgotten checks that no secrets are left.
func forgotten(t *testing.T, h *tlsrecord.Handshake) {
	t.Helper()
	client, server := h.Secrets()
	if !bytes.Equal(append(client, server...), make([]byte, len(client)+len(server))) {
		t.Error("secrets are left")
	}
}

// held is a client's connection that sends nothing while it is held.
type held struct {
	net.Conn
	hold    bool
	waiting []byte
}

func (c *held) Write(b []byte) (int, error) {
	if c.hold {
		c.waiting = append(c.waiting, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestEarly has data come in one piece with the client's Finished.
func TestEarly(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 20, 5000} {
		near, far := pipe(t)
		hold := &held{Conn: near}
		client := tls.Client(hold, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error {
			hold.hold = true
			return nil
		}})
		data := random(size)
		done := make(chan error, 1)
		go func() {
			_, err := client.Write(data)
			hold.hold = false
			_, err2 := near.Write(hold.waiting)
			got := make([]byte, size)
			_, err3 := io.ReadFull(client, got)
			if !bytes.Equal(got, data) {
				err = errors.New("not what was sent")
			}
			done <- errors.Join(err, err2, err3, client.CloseWrite())
		}()
		s, err := accept(t, far, config(p256(t)), false)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := s.h.Take(&s.state)
		if c == nil {
			t.Fatal("not taken")
		}
		if err := s.echo(c); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestDeclined are handshakes that crypto/tls must carry on with.
func TestDeclined(t *testing.T) {
	t.Parallel()
	cert := p256(t)
	tickets := func(c *tls.Config) {
		c.SessionTicketsDisabled = false
		c.SetSessionTicketKeys([][32]byte{{1}})
	}
	for name, tc := range map[string]struct {
		conf   func(c *tls.Config)
		spoil  func(s *server)
		max    uint16
		again  bool // the client comes a second time
		taken  bool
		failed bool
	}{
		"as it is":             {taken: true},
		"tickets 1.3":          {conf: tickets},
		"tickets 1.3, early":   {conf: func(c *tls.Config) { tickets(c); c.ClientAuth = tls.NoClientCert }},
		"tickets 1.3, resumed": {conf: tickets, again: true},
		"tickets 1.2":          {conf: tickets, max: tls.VersionTLS12, taken: true}, // sent before keys are in use
		"tickets 1.2, resumed": {conf: tickets, max: tls.VersionTLS12, again: true},
		"written on":           {spoil: func(s *server) { _, _ = s.tls.Write([]byte("x")) }},
		"written on 1.2":       {spoil: func(s *server) { _, _ = s.tls.Write([]byte("x")) }, max: tls.VersionTLS12},
		"half a record sent":   {spoil: func(s *server) { s.h.Sent([]byte{22, 3, 3, 1}) }},
		"a short record sent":  {spoil: func(s *server) { s.h.Sent([]byte{22, 3, 3, 0, 9, 1}) }},
		"the secret is short":  {spoil: func(s *server) { _, _ = s.h.Write([]byte("CLIENT_TRAFFIC_SECRET_0 00 0000\n")) }},
		"of another version":   {spoil: func(s *server) { s.state.Version = tls.VersionTLS12 }},
		"of another suite":     {spoil: func(s *server) { s.state.CipherSuite = tls.TLS_AES_256_GCM_SHA384 }},
		"wiped":                {spoil: func(s *server) { s.h.Wipe() }},
		"not watched": {conf: func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return config(cert), nil }
		}},
		"not complete": {conf: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf, sessions := config(cert), tls.NewLRUClientSessionCache(4)
			if tc.conf != nil {
				tc.conf(conf)
			}
			for range 2 {
				near, far := pipe(t)
				client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, ServerName: "server", MaxVersion: tc.max, ClientSessionCache: sessions})
				done := make(chan struct{})
				go func() {
					defer close(done)
					_ = client.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // tickets of TLS 1.3 come after
					_, _ = client.Read(make([]byte, 1))
				}()
				s, err := accept(t, far, conf, false)
				if (err != nil) != tc.failed {
					t.Fatal(err)
				}
				if tc.spoil != nil {
					tc.spoil(s)
				}
				<-done
				if tc.again {
					tc.again = false
					continue
				}
				c, _ := s.h.Take(&s.state)
				if (c != nil) != tc.taken {
					t.Errorf("taken: %t", c != nil)
				}
				forgotten(t, s.h)
				return
			}
		})
	}
}

// TestOpenSSL has the client of OpenSSL talk, change keys, and try to renegotiate.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	ec, rs := p256(t), rsa2048(t)
	for name, tc := range map[string]struct {
		args  []string
		cert  tls.Certificate
		lines []string // what is typed, each after its answer
		heard []string // and what must be printed before the next
		err   error
	}{
		"1.3 AES-128":       {[]string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}, ec, []string{"hello"}, []string{"hello"}, io.EOF},
		"1.3 AES-256":       {[]string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}, rs, []string{"hello"}, []string{"hello"}, io.EOF},
		"1.3 retried hello": {[]string{"-tls1_3", "-groups", "secp521r1:P-256:P-384"}, ec, []string{"hello"}, []string{"hello"}, io.EOF},
		"1.3 key updates": {
			[]string{"-tls1_3"},
			ec,
			[]string{"K", "one", "k", "two", "K", "K", "three"},
			[]string{"KEYUPDATE", "one", "KEYUPDATE", "two", "KEYUPDATE", "KEYUPDATE", "three"},
			io.EOF,
		},
		"1.2 AES-128":     {[]string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"}, ec, []string{"hello"}, []string{"hello"}, io.EOF},
		"1.2 AES-256":     {[]string{"-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"}, rs, []string{"hello"}, []string{"hello"}, io.EOF},
		"1.2 renegotiate": {[]string{"-tls1_2"}, ec, []string{"hello", "R"}, []string{"hello", "RENEGOTIATING"}, tlsrecord.AlertError(100)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s := exec.CommandContext(ctx, program, append([]string{"s_client", "-connect", l.Addr().String(), "-nocommands"}, tc.args...)...)
			if len(tc.lines) > 1 {
				s.Args = slices.DeleteFunc(s.Args, func(a string) bool { return a == "-nocommands" })
			}
			typed := typing(ctx, t, s, tc.lines, tc.heard)
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			got, err := accept(t, conn, config(tc.cert), false)
			if err != nil {
				t.Fatal(err)
			}
			c, _ := got.h.Take(&got.state)
			if c == nil {
				t.Fatalf("%s with %s is not taken", tls.VersionName(got.state.Version), tls.CipherSuiteName(got.state.CipherSuite))
			}
			if err := got.echo(c); !errors.Is(err, tc.err) {
				t.Error(err)
			}
			_ = conn.Close()
			if out := <-typed; out != "" {
				t.Error(out)
			}
		})
	}
}

// typing runs a program and types, line by line as it prints what is expected.
// It sends "", or what the program printed where that was something else.
func typing(ctx context.Context, t *testing.T, cmd *exec.Cmd, lines, heard []string) <-chan string {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		printed, at := []byte(nil), 0
		await := func(want string) bool {
			b := make([]byte, 4096)
			for {
				if i := bytes.Index(printed[at:], []byte(want)); i >= 0 {
					at += i + len(want)
					return true
				}
				n, err := out.Read(b)
				if printed = append(printed, b[:n]...); err != nil {
					return false
				}
			}
		}
		ok := await("Verify return code")
		ok = ok && await("---")
		for i, line := range lines {
			_, _ = io.WriteString(in, line+"\n")
			ok = ok && await(heard[i])
		}
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		if ok {
			printed = nil
		}
		done <- string(printed)
	}()
	return done
}

// FuzzRead reads what a client sends as crypto/tls does: everything comes, and
// no read goes past a record.
func FuzzRead(f *testing.F) {
	f.Add([]byte{22, 3, 1, 0, 2, 1, 2, 20, 3, 3, 0, 0, 22, 3, 3, 0, 1, 9}, uint16(600), false)
	f.Add([]byte{22, 3, 1, 255, 255, 1}, uint16(5), true)
	f.Fuzz(func(t *testing.T, in []byte, size uint16, oneByOne bool) {
		var from io.Reader = bytes.NewReader(in)
		if oneByOne {
			from = iotest.OneByteReader(from)
		}
		ends := map[int]bool{} // of headers and of records
		for at := 0; at < len(in); {
			ends[at+5] = true
			if len(in) < at+5 {
				break
			}
			at += 5 + int(in[at+3])<<8 + int(in[at+4])
			ends[at] = true
		}
		h, b := new(tlsrecord.Handshake), make([]byte, max(1, size))
		var got []byte
		for {
			n, err := h.Read(b, from)
			for i := 1; i < n; i++ {
				if ends[len(got)+i] {
					t.Fatalf("a read of %d bytes at %d goes past %d", n, len(got), len(got)+i)
				}
			}
			if got = append(got, b[:n]...); err != nil {
				break
			}
		}
		if !bytes.Equal(got, in) {
			t.Errorf("%x came as %x", in, got)
		}
	})
}
