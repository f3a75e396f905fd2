package broker

import (
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// loop is an event loop.
type loop struct {
	b     *Broker
	index int
	poll  *poller
	mail  mailbox
	taken []mail
	done  chan struct{}

	now    time.Time
	sec    int64         // now, in Unix seconds
	up     int64         // now, rounded up: what begins now must not end early
	part   time.Duration // of the second that has begun
	tidied int64
	ending bool

	conns      []*conn
	byFD       []*conn
	sessions   map[string]*session
	past       map[uint64]past // by the hash of the client ID
	subs       *tree[*subscription]
	routes     map[string]*route
	wheel      wheel
	judgements uint64
	sweeping   int // of conns: those that are still to be judged anew

	// What one tick leaves for its end.
	dirty   []*conn
	again   []*conn
	judging []*request
	later   []laterMessage
	outbox  []*forwards // for each loop
	settles []settles
	unsaved []*session // whose records are to be written
	writing writing

	// Buffers and packets that are used again and again.
	buffer        []byte
	data          []byte
	cipher        []byte
	frame         []byte
	topic         []byte
	encoded       [6][]byte
	buffers       buffers
	current       outgoing
	viewed        outgoing
	ack           mqtt.Ack
	ping          mqtt.Ping
	subscribing   mqtt.Subscribe
	unsubscribing mqtt.Unsubscribe
	idleWaiter    *waiter

	received, delivered [3]uint64
}

func (b *Broker) newLoop(index, loops int) (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &loop{
		b: b, index: index, poll: p, done: make(chan struct{}),
		sessions: map[string]*session{}, past: map[uint64]past{}, routes: map[string]*route{},
		subs: newTree[*subscription](b.cfg.Profile), outbox: make([]*forwards, loops), settles: make([]settles, loops), buffer: make([]byte, 2*readSize),
	}
	l.clock()
	l.wheel.at = l.sec
	return l, nil
}

// post has the loop open x. It returns false when the loop has ended.
func (l *loop) post(x mail) bool {
	wake, ok := l.mail.put(x)
	if wake {
		l.poll.wake()
		l.mail.waking.Add(-1)
	}
	return ok
}

func (l *loop) clock() {
	l.now = l.b.cfg.Now()
	l.sec, l.up, l.part = l.b.seconds(l.now)
}

// seconds is a time in Unix seconds, rounded down and up, and what it is past
// the former. It goes on evenly where the system's clock is set while the broker
// runs: intervals neither end early nor for all at once.
func (b *Broker) seconds(t time.Time) (down, up int64, part time.Duration) {
	ns := b.started.UnixNano() + t.Sub(b.started).Nanoseconds()
	down, up = ns/1e9, (ns+1e9-1)/1e9
	return down, up, time.Duration(ns - down*1e9)
}

// now is the second that has begun.
func (b *Broker) now() int64 {
	sec, _, _ := b.seconds(b.cfg.Now())
	return sec
}

// run is the loop's goroutine.
func (l *loop) run() {
	defer close(l.done)
	for !l.ended() {
		events, err := l.poll.wait(l.patience())
		if err != nil {
			l.b.log.Error("mqtt event loop", slog.Any("error", err))
			return
		}
		l.clock()
		l.ready(events)
		l.wheel.run(l, l.sec)
		l.openMail()
		l.goOn()
		l.endTick()
	}
	l.shut()
}

// ready handles what the poller announced.
func (l *loop) ready(events []pollEvent) {
	for i := range events {
		e := &events[i]
		fd := int(e.Fd)
		if l.poll.awoken(fd) {
			continue
		}
		c := l.byFD[fd]
		if c == nil {
			continue
		}
		c.handle(e.Events)
	}
}

// handle handles what the poller announced of one connection.
func (c *conn) handle(events uint32) {
	defer c.rescue()
	if events&canWrite != 0 {
		c.writable()
	}
	switch {
	case c.state == stateClosed:
	case events&canRead != 0 && !c.paused:
		c.readable()
	case events&hungUp != 0:
		c.lost(nil)
	}
}

// rescue keeps a mistake of ours from ending the connections of all: the one
// that ran into it is closed.
func (c *conn) rescue() {
	p := recover()
	if p == nil {
		return
	}
	c.loop.b.log.Error("panic in the mqtt event loop",
		slog.Any("error", p), slog.String("stack", string(debug.Stack())))
	c.close("SERVER_ERROR")
}

// patience is how long the loop may wait for something to happen.
func (l *loop) patience() time.Duration {
	switch {
	case len(l.again) > 0 || l.sweeping > 0:
		return 0
	case l.wheel.n > 0:
		return time.Second - l.part + time.Millisecond
	}
	return -1
}

func (l *loop) openMail() {
	l.taken = l.mail.take(l.taken)
	for _, x := range l.taken {
		l.openOne(x)
	}
}

// openOne keeps a mistake of ours from ending the connections of all.
func (l *loop) openOne(x mail) {
	defer l.rescue()
	x.open(l)
}

func (l *loop) rescue() {
	if p := recover(); p != nil {
		l.b.log.Error("panic in the mqtt event loop", slog.Any("error", p), slog.String("stack", string(debug.Stack())))
	}
}

// goOn reads on where TLS has more than was announced, and judges some
// connections anew after a change.
func (l *loop) goOn() {
	list := l.again
	l.again = nil
	for _, c := range list {
		c.again = false
		if c.state != stateClosed {
			c.goOn()
		}
	}
	for n := 0; l.sweeping > 0 && n < 256; n++ {
		l.sweeping--
		if l.sweeping < len(l.conns) {
			l.conns[l.sweeping].refresh()
		}
	}
}

func (c *conn) flushSafely() {
	defer c.rescue()
	c.flush()
}

func (c *conn) goOn() {
	defer c.rescue()
	c.reread()
}

// endTick lets out what the tick has brought about.
func (l *loop) endTick() {
	for {
		l.publishLater()
		l.writeDirty()
		if len(l.later) == 0 { // a connection that is lost while writing leaves a will
			break
		}
	}
	if l.b.store != nil {
		l.submit()
	}
	for i := range l.outbox {
		l.sendForwards(i)
	}
	for i, list := range l.settles {
		if len(list) > 0 {
			l.settles[i] = nil
			l.b.loops[i].post(list)
		}
	}
	l.handOver()
	if l.received != [3]uint64{} || l.delivered != [3]uint64{} {
		l.b.observer.Messages(&l.received, &l.delivered)
		l.received, l.delivered = [3]uint64{}, [3]uint64{}
	}
	if l.sec != l.tidied {
		l.tidy()
	}
}

func (l *loop) writeDirty() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		l.dirty[i] = nil
		c.dirty = false
		c.flushSafely()
	}
	l.dirty = l.dirty[:0]
}

// handOver gives connections that have sent their CONNECT to those who judge it.
func (l *loop) handOver() {
	for i, r := range l.judging {
		l.judging[i] = nil
		c := r.c
		if c.state != stateJudged {
			continue
		}
		l.drop(c)
		if c.fd >= 0 {
			l.poll.remove(c.fd)
			l.byFD[c.fd] = nil
		}
		c.timer.stop()
		c.loop = l.b.loopOf(r.id)
		l.b.judged.Add(1)
		go l.b.judge(r)
	}
	l.judging = l.judging[:0]
}

// attach makes a connection one of this loop.
func (l *loop) attach(c *conn) {
	c.loop = l
	c.at = len(l.conns)
	l.conns = append(l.conns, c)
	if c.fd < 0 {
		return
	}
	for len(l.byFD) <= c.fd {
		l.byFD = append(l.byFD, nil)
	}
	l.byFD[c.fd] = c
	if err := l.poll.add(c.fd, !c.paused, c.blocked); err != nil {
		c.lost(err)
	}
}

// adopt takes a connection back after its CONNECT was judged. It returns false
// if the connection, or the loop, has ended.
func (l *loop) adopt(c *conn) bool {
	if c.state == stateClosed { // a stream whose client left meanwhile
		return false
	}
	if l.ending {
		c.abandon()
		return false
	}
	c.timer = newConnTimer(c)
	c.arm(max(c.deadline, l.sec+1))
	l.attach(c)
	return c.state != stateClosed
}

// drop takes a connection out of the list.
func (l *loop) drop(c *conn) {
	last := len(l.conns) - 1
	if c.at > last || l.conns[c.at] != c {
		return
	}
	l.conns[c.at] = l.conns[last]
	l.conns[c.at].at = c.at
	l.conns[last] = nil
	l.conns = l.conns[:last]
}

// tidy is done once a second.
func (l *loop) tidy() {
	l.tidied = l.sec
	l.buffers.tidy()
	if l.sec%60 == 0 {
		l.forgetPast()
		l.forgetRoutes()
		if l.index == 0 {
			l.forgetRetained()
		}
	}
	if l.index == 0 && !l.ending {
		l.calmDown()
	}
}

// calm gives memory back to the system when a storm of connections is over:
// what handshakes leave behind is otherwise kept for minutes.
type calm struct {
	seen, freed uint64 // arrivals: last second, and when memory was given back last
	running     atomic.Bool
}

// stormSize is how many connections make it worth while.
const stormSize = 500

func (l *loop) calmDown() {
	c, arrivals := &l.b.calm, l.b.arrivals.Load()
	quiet := arrivals == c.seen
	c.seen = arrivals
	if quiet && arrivals-c.freed >= stormSize && !c.running.Swap(true) {
		c.freed = arrivals
		l.b.reading.Go(func() {
			debug.FreeOSMemory()
			c.running.Store(false)
		})
	}
}

// sweep is mail: judge every connection anew.
type sweep struct{}

// open implements mail.
func (sweep) open(l *loop) {
	l.b.sweeps[l.index].Store(false)
	l.sweeping = len(l.conns)
}

// end is mail: tell everybody good-bye.
type end struct{}

// open implements mail.
func (end) open(l *loop) {
	l.ending = true
	for len(l.conns) > 0 {
		c := l.conns[len(l.conns)-1]
		c.endWith(mqtt.ServerShuttingDown, "SERVER_INITIATED_DISCONNECT", "")
		if c.state == stateLinger {
			c.close("")
		}
	}
}

// ended reports whether the loop has nothing more to do.
func (l *loop) ended() bool {
	return l.ending && l.writing.under == 0 && l.writing.batch == nil && len(l.later) == 0 && l.b.quiet.Load()
}

// shut ends what is left.
func (l *loop) shut() {
	for _, x := range l.mail.close() {
		switch x := x.(type) {
		case *request:
			x.c.abandon()
		case *arrival:
			x.c.abandon()
		}
	}
	l.poll.close()
}

// buffers keeps output buffers for the next who needs one.
type buffers struct {
	free [][]byte
	low  int // the fewest that were free since the last tidying
}

const (
	bufferSize = 4 << 10
	bufferMax  = 128 << 10 // larger ones are not kept
)

func (b *buffers) get() []byte {
	n := len(b.free)
	if n == 0 {
		b.low = 0
		return make([]byte, 0, bufferSize)
	}
	buf := b.free[n-1]
	b.free[n-1] = nil
	b.free = b.free[:n-1]
	b.low = min(b.low, n-1)
	return buf
}

func (b *buffers) put(buf []byte) {
	if cap(buf) >= bufferSize && cap(buf) <= bufferMax {
		b.free = append(b.free, buf[:0])
	}
}

// tidy lets go of half of the buffers that nobody needed lately.
func (b *buffers) tidy() {
	n := (b.low + 1) / 2
	clear(b.free[:n])
	b.free = b.free[n:]
	b.low = len(b.free)
}
