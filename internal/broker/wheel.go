package broker

// slots is the size of a wheel: a power of two.
const slots = 1024

// timer is something that happens at a second.
type timer interface {
	// due returns when the timer is to fire, in Unix seconds. It has been added
	// to the wheel for that second; entries for others are no longer meant.
	due() int64
	fire(l *loop)
}

// lookAhead is for how many seconds at most a timer is added: it may look again
// then. An entry that is no longer meant, and what it holds, is gone after that.
const lookAhead = 60

type entryAt struct {
	t  timer
	at int64
}

// wheel keeps timers by second.
type wheel struct {
	slots [slots][]entryAt
	at    int64 // the second that was run last
	n     int
}

func (w *wheel) add(t timer, at int64) {
	i := max(at, w.at+1) & (slots - 1)
	w.slots[i] = append(w.slots[i], entryAt{t, at})
	w.n++
}

// run fires what is due up to now.
func (w *wheel) run(l *loop, now int64) {
	if now-w.at > slots {
		w.at = now - slots
	}
	for w.at < now {
		w.at++
		i := w.at & (slots - 1)
		list := w.slots[i]
		if len(list) == 0 {
			continue
		}
		w.slots[i] = nil
		w.n -= len(list)
		for _, e := range list {
			switch {
			case e.at > now: // another round
				w.add(e.t, e.at)
			case e.t.due() == e.at:
				l.fire(e.t)
			}
		}
	}
}

func (l *loop) fire(t timer) {
	defer l.rescue()
	t.fire(l)
}
