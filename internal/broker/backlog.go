package broker

import "slices"

// backlog is which entries the store has for one session, oldest first. Queues
// of all sessions share one range of keys in the store, in the order in which
// messages came: what is written at a time lies together, and costs a disk no
// page for each session. Who is to have which entry is known here.
type backlog struct {
	seqs  []uint64
	first int
}

func (b *backlog) len() int { return len(b.seqs) - b.first }

// push adds an entry, which is newer than all others.
func (b *backlog) push(seq uint64) { b.seqs = append(b.seqs, seq) }

// remove takes an entry out. Most often it is one of the first.
func (b *backlog) remove(seq uint64) {
	i, found := slices.BinarySearch(b.seqs[b.first:], seq)
	if !found {
		return
	}
	copy(b.seqs[b.first+1:b.first+1+i], b.seqs[b.first:b.first+i])
	b.first++
	switch n := b.len(); {
	case n == 0:
		*b = backlog{}
	case b.first >= 64 && b.first >= n:
		b.seqs, b.first = append(make([]uint64, 0, n+n/4), b.seqs[b.first:]...), 0
	}
}

// after returns the entries after one, at most limit of them.
func (b *backlog) after(seq uint64, limit int) []uint64 {
	i, found := slices.BinarySearch(b.seqs[b.first:], seq)
	if found {
		i++
	}
	rest := b.seqs[b.first+i:]
	return rest[:min(len(rest), limit)]
}
