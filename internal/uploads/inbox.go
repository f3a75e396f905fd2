package uploads

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// letter is one upload that the ledger was told of and has not kept yet.
type letter struct {
	read func() (Record, bool) // false for what is no upload
	from iot.CertificateID
	size int
	done func(error) // nil where nobody waits
}

// share is how much of the inbox is in use.
type share struct{ letters, bytes int }

func (s *share) fits(more share, limit share) bool {
	return s.letters+more.letters <= limit.letters && s.bytes+more.bytes <= limit.bytes
}

func (s *share) add(x share) { s.letters, s.bytes = s.letters+x.letters, s.bytes+x.bytes }

func (s *share) sub(x share) { s.letters, s.bytes = s.letters-x.letters, s.bytes-x.bytes }

// inbox has the letters, until they are kept.
type inbox struct {
	mu      sync.Mutex // guards the fields below
	list    []letter
	used    share // by those that were taken too, until they are settled
	each    map[iot.CertificateID]share
	dropped int // of those that nobody waits for
	refused int // of the others
	closed  bool

	kick chan struct{}
	end  chan struct{}
	once sync.Once
}

// What waits in all, and of that of one certificate: a device that says more
// than its share is held up alone.
var (
	inboxLimit = share{letters: 4096, bytes: 32 << 20} //nolint:gochecknoglobals // constants
	eachLimit  = share{letters: 1024, bytes: 8 << 20}  //nolint:gochecknoglobals // constants
)

const (
	letterBytes = 512 // of a letter beside what it says
	maxBatch    = 256
	addTimeout  = 10 * time.Second
	tellEvery   = 10 * time.Second // at most so often the log says that there is too much
)

func (b *inbox) init() {
	b.kick, b.end, b.each = make(chan struct{}, 1), make(chan struct{}), map[iot.CertificateID]share{}
}

func (b *inbox) close() {
	b.once.Do(func() { close(b.end) })
}

var errClosed = errors.New("the ledger is closed")

// put never waits: what does not fit is refused where somebody waits, and else
// dropped; both are counted.
func (b *inbox) put(x letter) {
	if err := b.offer(&x); err != nil && x.done != nil {
		x.done(err)
	}
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *inbox) offer(x *letter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	x.size += letterBytes
	cost, each := share{1, x.size}, b.each[x.from]
	if !b.used.fits(cost, inboxLimit) || !each.fits(cost, eachLimit) {
		if x.done == nil {
			b.dropped++
		} else {
			b.refused++
		}
		return iot.Errorf(iot.KindBusy, "uploads", "Too many uploads wait for the ledger")
	}
	b.used.add(cost)
	each.add(cost)
	b.each[x.from] = each
	b.list = append(b.list, *x)
	return nil
}

// take empties the inbox. The last time closes it.
func (b *inbox) take(last bool) []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list, b.closed = nil, last
	return list
}

// settled gives back the room of letters, and says who waits how it went.
func (b *inbox) settled(list []letter, err error) {
	b.mu.Lock()
	for i := range list {
		cost, each := share{1, list[i].size}, b.each[list[i].from]
		b.used.sub(cost)
		if each.sub(cost); each.letters > 0 {
			b.each[list[i].from] = each
		} else {
			delete(b.each, list[i].from)
		}
	}
	b.mu.Unlock()
	for i := range list {
		if list[i].done != nil {
			list[i].done(err)
		}
	}
}

// lost returns how much did not fit since it was asked last.
func (b *inbox) lost() (dropped, refused int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	dropped, refused = b.dropped, b.refused
	b.dropped, b.refused = 0, 0
	return dropped, refused
}

// keepInbox keeps what it is told of until the inbox is closed.
func (l *Ledger) keepInbox(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // what was heard of is kept
	var told time.Time
	for last := false; !last; {
		select {
		case <-l.inbox.kick:
		case <-l.inbox.end:
			last = true
		}
		list := l.inbox.take(last)
		if now := l.cfg.Now(); last || now.Sub(told).Abs() >= tellEvery {
			told = now
			l.tellLost(ctx)
		}
		for len(list) > 0 {
			n := min(len(list), maxBatch)
			l.keep(ctx, list[:n])
			list = list[n:]
		}
	}
}

func (l *Ledger) tellLost(ctx context.Context) {
	dropped, refused := l.inbox.lost()
	if dropped > 0 {
		l.cfg.Log.ErrorContext(ctx, "uploads are missing from the ledger: more came than could be kept", slog.Int("records", dropped))
	}
	if refused > 0 {
		l.cfg.Log.WarnContext(ctx, "messages with uploads were not acknowledged: more came than could be kept", slog.Int("messages", refused))
	}
}

// keep keeps the records of letters in one transaction.
func (l *Ledger) keep(ctx context.Context, list []letter) {
	records := make([]Record, 0, len(list))
	kept, idle := list[:0:len(list)], []letter(nil)
	for _, x := range list {
		r, ok := x.read()
		if x.read = nil; !ok { // and its message may go
			idle = append(idle, x)
			continue
		}
		records, kept = append(records, r), append(kept, x)
	}
	l.inbox.settled(idle, nil)
	if len(records) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	err := l.cfg.Store.Add(ctx, records)
	lost := 0
	if err == nil || len(records) == 1 {
		lost = len(records)
		l.inbox.settled(kept, err)
	} else {
		for i := range kept { // it may be for one of them alone
			e := l.cfg.Store.Add(ctx, records[i:i+1])
			if e != nil {
				err = e
				lost++
			}
			l.inbox.settled(kept[i:i+1], e)
		}
	}
	if err != nil && lost > 0 {
		l.cfg.Log.ErrorContext(ctx, "uploads could not be kept in the ledger", slog.Int("records", lost), slog.Any("error", err))
	}
}

// Failed notes an upload that came to nothing. It never waits.
func (l *Ledger) Failed(r Record, err error) {
	r.Status, r.Finished, r.Reason = Failed, l.cfg.Now(), reason(err)
	l.inbox.put(letter{from: r.Certificate, size: len(r.Key) + len(r.Reason), read: func() (Record, bool) { return r, true }})
}

// reason is why an upload failed, as its device may know it.
func reason(err error) string {
	if err == nil {
		return "given up by the device"
	}
	if e, ok := iotError(err); ok && e.Kind != iot.KindInternal {
		return clip(e.Message)
	}
	return "the server failed"
}

func iotError(err error) (*iot.Error, bool) { return errors.AsType[*iot.Error](err) }
