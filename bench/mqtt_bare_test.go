//go:build bench

package bench_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// bareMQTTEnv makes this binary the broker alone; its value is a bareTask.
const bareMQTTEnv = "SEKISHO_BENCH_MQTT"

type bareTask struct {
	Loops     int
	Cert, Key string // files; empty: plain TCP
	Profile   string // a file for a CPU profile
}

// bareMQTT prints its address and ends with its standard input.
func bareMQTT() error {
	var task bareTask
	if err := json.Unmarshal([]byte(os.Getenv(bareMQTTEnv)), &task); err != nil {
		return err
	}
	access, err := newDeviceAccess()
	if err != nil {
		return err
	}
	limits := broker.AWSLimits()
	limits.ConnectRate = 0
	b, err := broker.New(context.Background(), broker.Config{
		Profile: broker.AWS, Limits: limits, Loops: task.Loops, Access: access,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	attach, err := task.door(b)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			attach(c)
		}
	}()
	stop, err := task.profile()
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if n := access.denied.Load(); n > 0 {
		fmt.Printf("the bare broker denied %d times\n", n)
	}
	return errors.Join(l.Close(), b.Close(), stop())
}

// door returns what is done with a new connection, as the server does it.
func (t *bareTask) door(b *broker.Broker) (func(net.Conn), error) {
	if t.Cert == "" {
		return func(c net.Conn) { b.Attach(c, broker.Attachment{Peer: broker.Peer{Certificate: "bench"}}) }, nil
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true}
	gate := broker.NewGate(4)
	return func(c net.Conn) {
		go func() {
			gate.Enter()
			socket := broker.NewSocket(c, gate)
			secure := tls.Server(socket, socket.Watch(conf))
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := secure.HandshakeContext(ctx)
			cancel()
			socket.Ungate()
			gate.Leave()
			if err != nil {
				_ = c.Close()
				return
			}
			sum := sha256.Sum256(secure.ConnectionState().PeerCertificates[0].Raw)
			b.Attach(secure, broker.Attachment{Peer: broker.Peer{Certificate: iot.CertificateID(hex.EncodeToString(sum[:]))}})
		}()
	}, nil
}

func (t *bareTask) profile() (stop func() error, err error) {
	if t.Profile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(t.Profile)
	if err != nil {
		return nil, err
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, pprof.StartCPUProfile(f)
}

// deviceAccess judges every connection by devicePolicy, as the server would
// for a certificate that the thing of the client ID's name is attached to.
type deviceAccess struct {
	set       policy.Set
	questions sync.Pool
	denied    atomic.Int64
}

func newDeviceAccess() (*deviceAccess, error) {
	p, err := policy.Compile(policy.IoT, "bench", []byte(devicePolicy))
	return &deviceAccess{set: policy.Set{p}, questions: sync.Pool{New: func() any { return newQuestion() }}}, err
}

// Principal implements broker.Access.
func (a *deviceAccess) Principal(_ context.Context, peer *broker.Peer, clientID string) (broker.Principal, error) {
	return &devicePrincipal{access: a, id: peer.Certificate, clientID: clientID}, nil
}

// devicePrincipal is small, as the server's are: one hangs on every connection.
type devicePrincipal struct {
	access   *deviceAccess
	id       iot.CertificateID
	clientID string
}

func (p *devicePrincipal) ID() string { return string(p.id) }

func (p *devicePrincipal) Thing() (string, bool) { return p.clientID, false }

// question is one decision.
type question struct {
	request policy.Request
	keys    registry.Keys
	thing   registry.Thing
	arn     []byte
}

func newQuestion() *question {
	q := &question{}
	q.keys.Thing = &registry.AttachedThing{Thing: &q.thing}
	q.request.Keys = &q.keys
	return q
}

// Decide implements broker.Principal.
func (p *devicePrincipal) Decide(r *broker.Request) broker.Verdict {
	kind := "topic/"
	switch r.Action {
	case broker.Connect:
		kind = "client/"
	case broker.Subscribe:
		kind = "topicfilter/"
	case broker.Publish, broker.RetainPublish, broker.Receive:
	}
	q := p.access.questions.Get().(*question)
	defer p.access.questions.Put(q)
	q.arn = append(append(append(q.arn[:0], "arn:aws:iot:us-east-1:000000000000:"...), kind...), r.Name...)
	q.request.Action, q.request.Resource = r.Action.String(), string(q.arn)
	q.keys.ClientID, q.thing.Name = p.clientID, iot.ThingName(p.clientID)
	return broker.Verdict{Allowed: p.access.set.Evaluate(&q.request).Allowed(), Lasting: true}
}

// Deny implements broker.Principal.
func (p *devicePrincipal) Deny(r *broker.Request, reason string) {
	if p.access.denied.Add(1) == 1 {
		fmt.Fprintln(os.Stderr, "denied:", r.Action, r.Name, reason)
	}
}
