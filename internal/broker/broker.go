package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/queue"
)

// Broker is the broker.
type Broker struct {
	cfg      Config
	started  time.Time
	log      *slog.Logger
	store    Store
	observer Observer
	loops    []*loop
	seed     maphash.Seed
	decoders [2]mqtt.Decoder

	subscriptions atomic.Uint64 // rises when a route may have changed
	groups        *groups
	taps          *tree[*Tap]
	retained      retainedStore
	references    references
	forwards      sync.Pool     // of *forwards
	ids           atomic.Uint64 // of stored messages
	seqs          atomic.Uint64 // of stored entries

	access    atomic.Uint64 // rises with every change
	changesMu sync.Mutex    // guards changes, and access while it rises
	changes   [changesKept]iot.Change
	sweeps    []atomic.Bool // of each loop: it is about to judge its connections anew

	open     atomic.Int64 // connections
	sessions atomic.Int64
	arrivals atomic.Uint64 // connections and subscriptions that were made
	calm     calm
	closing  atomic.Bool
	quiet    atomic.Bool // nothing comes from other loops any more
	once     sync.Once

	judges  chan struct{} // bounds who judges a CONNECT at the same time
	judged  sync.WaitGroup
	readers chan struct{} // and who reads queues
	reading sync.WaitGroup
	streams sync.WaitGroup
}

// maxAtOnce is how many goroutines judge, and how many read, at the same time.
const maxAtOnce = 32

// New returns a broker that has read back what its store kept, and runs.
func New(_ context.Context, cfg Config) (*Broker, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	b := &Broker{
		cfg: cfg, started: cfg.Now(), log: cfg.Logger, store: cfg.Store, observer: cfg.Observer, seed: maphash.MakeSeed(),
		groups: newGroups(cfg.Profile), taps: newTaps(&cfg), retained: retainedStore{exact: map[string]*retained{}, levels: cfg.Profile == Standard},
		references: references{count: map[uint64]int32{}}, sweeps: make([]atomic.Bool, cfg.Loops),
		judges: make(chan struct{}, maxAtOnce), readers: make(chan struct{}, maxAtOnce),
	}
	b.forwards.New = func() any { return &forwards{pool: &b.forwards} }
	if b.observer == nil {
		b.observer = noObserver{}
	}
	l := &cfg.Limits
	limits := mqtt.Limits{
		TopicLength: l.TopicLength, TopicLevels: l.TopicLevels, ShareName: l.ShareName, ClientID: l.ClientID, Filters: l.Filters,
	}
	if b.store != nil { // it is a key there, behind a letter; one that is refused takes others with it
		limits.ClientID = min(cmp.Or(limits.ClientID, queue.MaxKey), queue.MaxKey-1)
	}
	b.decoders[0] = mqtt.Decoder{Version: mqtt.V311, From: mqtt.Client, Limits: limits}
	b.decoders[1] = mqtt.Decoder{Version: mqtt.V5, From: mqtt.Client, Limits: limits}
	for i := range cfg.Loops {
		l, err := b.newLoop(i, cfg.Loops)
		if err != nil {
			b.closePollers()
			return nil, err
		}
		b.loops = append(b.loops, l)
	}
	if b.store != nil {
		if err := b.restore(); err != nil {
			b.closePollers()
			return nil, err
		}
	}
	for _, l := range b.loops {
		go l.run()    //nolint:contextcheck // the loops outlive whoever made the broker
		l.poll.wake() // it may have something to write or to wait for already
	}
	return b, nil
}

func (b *Broker) closePollers() {
	for _, l := range b.loops {
		l.poll.close()
	}
}

func (b *Broker) decoder(v mqtt.Version) *mqtt.Decoder {
	if v == mqtt.V5 {
		return &b.decoders[1]
	}
	return &b.decoders[0]
}

// loopOf returns the loop that a client ID belongs to.
func (b *Broker) loopOf(clientID string) *loop {
	if len(b.loops) == 1 {
		return b.loops[0]
	}
	return b.loops[b.hash(clientID)%uint64(len(b.loops))]
}

func (b *Broker) hash(clientID string) uint64 { return maphash.String(b.seed, clientID) }

// dropped counts a message that a session does not get.
func (b *Broker) dropped(_ *session, reason string) { b.observer.Dropped(reason) }

// Attach takes over a connection: plain TCP, or TLS whose handshake is done. A
// TLS connection that is made over a Socket costs no goroutine. It returns at once.
func (b *Broker) Attach(nc net.Conn, a Attachment) {
	if limit := b.cfg.Limits.Connections; b.open.Add(1) > int64(limit) && limit > 0 || b.closing.Load() {
		b.open.Add(-1)
		b.observer.Limit("connections")
		_ = nc.Close()
		return
	}
	l := b.loops[b.arrivals.Add(1)%uint64(len(b.loops))]
	_, now, _ := b.seconds(b.cfg.Now())
	c := &conn{
		loop: l, fd: -1, peer: &a.Peer, lastSeen: now,
		deadline: now + max(1, int64(seconds(b.cfg.Limits.ConnectTimeout))),
	}
	if a.WebSocket {
		c.ws = new(websocket)
	}
	if !b.park(c, nc) {
		unwatch(nc)
		c.stream = newStream(c, nc)
	}
	if !l.post(&arrival{c: c, early: a.Early}) {
		c.abandon()
	}
}

// park gives the connection a descriptor of its own, if it can have one.
func (b *Broker) park(c *conn, nc net.Conn) bool {
	if !pollable || b.cfg.Streams {
		return false
	}
	var sock *Socket
	under := nc
	t, ok := nc.(*tls.Conn)
	if ok {
		if sock, ok = t.NetConn().(*Socket); !ok {
			return false
		}
		under = sock.Conn
	}
	fd, err := detach(under)
	if err != nil {
		return false
	}
	c.fd = fd
	if sock != nil {
		c.tls = b.secured(t, sock, fd)
	}
	return true
}

// arrival is mail: a new connection.
type arrival struct {
	c     *conn
	early []byte
}

// open implements mail.
func (x *arrival) open(l *loop) {
	c := x.c
	if l.ending {
		c.abandon()
		return
	}
	c.timer = newConnTimer(c)
	c.arm(max(c.deadline, l.sec+1))
	l.attach(c)
	if c.state == stateClosed {
		return
	}
	for early := x.early; len(early) > 0 && c.state == stateNew; {
		n := min(len(early), readSize)
		l.data = append(l.buffer[:0], c.in...)
		c.in = nil
		copy(l.data[len(l.data):len(l.data)+n], early[:n])
		c.feed(n)
		early = early[n:]
	}
	if c.stream != nil {
		c.stream.start(l, &l.b.streams)
		return
	}
	c.more() // TLS may have read it already
}

// Publish publishes a message on behalf of who was authorised to already. It
// returns when everything that must keep the message has it on disk. Errors:
// iot.KindInvalid for a topic or a QoS that nobody may publish, KindTooLarge,
// KindDenied for a topic that only MQTT connections may publish to, KindLimit
// where no further message can be retained, KindBusy while the disk is nearly
// full for what may have to be kept.
func (b *Broker) Publish(ctx context.Context, m *Message) error {
	if err := b.checkMessage(m); err != nil {
		return err
	}
	if err := b.checkReserved(m.Topic); err != nil {
		return err
	}
	if (m.QoS > 0 || m.Retain && len(m.Payload) > 0) && b.full() {
		return iot.Errorf(iot.KindBusy, "disk", "The server's disk is nearly full: messages that have to be kept are not taken")
	}
	return b.publish(ctx, b.loopOf(m.Topic), m)
}

// PublishOwn publishes messages of the server itself: topics are open to it
// that are closed to others. It returns as Publish does, when all of them are
// safe, and an error may be of some alone. They come in their order, and after
// those of calls before.
func (b *Broker) PublishOwn(ctx context.Context, list ...*Message) error {
	for _, m := range list {
		if err := b.checkMessage(m); err != nil {
			return err
		}
	}
	return b.publish(ctx, b.loops[0], list...)
}

// publish has one loop publish messages.
func (b *Broker) publish(ctx context.Context, home *loop, list ...*Message) error {
	done := make(chan error, 1)
	w := &waiter{done: func(err error) { done <- err }}
	all := make([]laterMessage, len(list))
	for i, m := range list {
		x := laterMessage{m: newMessage([]byte(m.Topic), m.Payload, m.Properties), peer: m.From, waiter: w}
		x.m.qos, x.m.retain = m.QoS, m.Retain
		w.hold()
		all[i] = x
	}
	if len(all) == 0 {
		return nil
	}
	return home.ask(ctx, done, func(l *loop) {
		for i, m := range list {
			all[i].m.expires = l.expiry(m.Properties)
		}
		l.later = append(l.later, all...)
	})
}

var errClosed = errors.New("the broker is closed")

// ask has the loop do something, and waits for what it has to say.
func (l *loop) ask(ctx context.Context, done <-chan error, do mailFunc) error {
	if !l.post(do) {
		return errClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return errClosed
	}
}

func (b *Broker) checkMessage(m *Message) error {
	err := mqtt.CheckTopicName([]byte(m.Topic), &b.decoders[0].Limits)
	switch {
	case err != nil:
		return iot.Errorf(iot.KindInvalid, "topic", "Invalid topic: %v", err)
	case m.QoS > 2 || m.QoS == 2 && b.cfg.Profile == AWS:
		return iot.Errorf(iot.KindInvalid, "qos", "QoS %d is not supported", m.QoS)
	case m.Retain && !b.mayRetain(m.Topic, len(m.Payload), len(m.Properties)):
		return iot.Errorf(iot.KindLimit, "retained-message", "There is no room for further retained messages")
	case b.cfg.Limits.Payload > 0 && len(m.Payload) > b.cfg.Limits.Payload:
		return iot.Errorf(iot.KindTooLarge, "payload", "The payload is larger than %d bytes", b.cfg.Limits.Payload)
	}
	return nil
}

// checkReserved says which topics are not for everybody.
func (b *Broker) checkReserved(topic string) error {
	switch no := refusePublish(topic, "", b.cfg.Profile); {
	case no.code == mqtt.NotAuthorized:
		return iot.Errorf(iot.KindDenied, "topic", "Topic %s: %s", topic, no.reason)
	case no.code != 0:
		return iot.Errorf(iot.KindInvalid, "topic", "Topic %s: %s", topic, no.reason)
	}
	return nil
}

// Disconnect ends the connection of a client, as the API's DeleteConnection:
// clean also ends its session, and silent keeps its will from being sent.
// iot.KindNotFound where the client is not connected.
func (b *Broker) Disconnect(ctx context.Context, clientID string, clean, silent bool) error {
	done := make(chan error, 1)
	return b.loopOf(clientID).ask(ctx, done, func(l *loop) { done <- l.disconnectClient(clientID, clean, silent) })
}

func (l *loop) disconnectClient(id string, clean, silent bool) error {
	s := l.sessions[id]
	if s == nil || s.conn == nil {
		return iot.Errorf(iot.KindNotFound, "connection", "The client %s is not connected", id)
	}
	c := s.conn
	if silent {
		c.will = nil
	}
	if clean {
		s.expiry = 0
	}
	c.endWith(mqtt.AdministrativeAction, "API_INITIATED_DISCONNECT", "")
	return nil
}

// Invalidate has the broker judge its connections anew after a change; once it
// has returned, no packet is judged by what was before, and within a second
// every connection that may not go on is closed.
func (b *Broker) Invalidate(c iot.Change) {
	if slices.Contains([]iot.ChangeKind{iot.ChangeBucket, iot.ChangeRoleAlias, iot.ChangeUpload, iot.ChangeEventConfiguration}, c.Kind) {
		return // no connection depends on them
	}
	b.changesMu.Lock()
	n := b.access.Load() + 1
	b.changes[n%changesKept] = c
	b.access.Store(n)
	b.changesMu.Unlock()
	for i, l := range b.loops {
		if !b.sweeps[i].Swap(true) {
			l.post(sweep{})
		}
	}
}

// Nudge has the loops look at the clock: for tests, whose clock jumps.
func (b *Broker) Nudge() {
	for range 2 { // the second is answered when the tick of the first has ended
		for _, l := range b.loops {
			done := make(chan struct{})
			if l.post(mailFunc(func(*loop) { close(done) })) {
				select {
				case <-done:
				case <-l.done:
				}
			}
		}
	}
}

// Close tells the clients that the server goes, writes what has to be kept,
// and returns when the loops have ended. It is idempotent.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.closing.Store(true)
		for _, l := range b.loops {
			l.post(end{})
		}
		b.Nudge() // no other CONNECT is judged after that
		b.judged.Wait()
		for range 3 { // what the loops hand to each other, and what comes of that
			b.Nudge()
		}
		b.reading.Wait()
		b.quiet.Store(true)
		for _, l := range b.loops {
			l.post(mailFunc(func(*loop) {}))
		}
		for _, l := range b.loops {
			<-l.done
		}
		b.streams.Wait()
	})
	return nil
}
