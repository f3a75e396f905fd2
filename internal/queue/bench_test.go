package queue_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/queue"
)

// 64 publishers with so many messages on their way each; a message is a batch of
// itself and of its entry in a session's queue.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ sessions, inflight int }{{64, 100}, {1, 100}, {64, 1}, {1, 1}} {
		b.Run(fmt.Sprintf("sessions=%d/inflight=%d", c.sessions, c.inflight), func(b *testing.B) {
			s := open(b, b.TempDir(), queue.Options{})
			payload := bytes.Repeat([]byte("x"), 300)
			var next, failed atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for p := range 64 {
				prefix := fmt.Sprintf("q/session-%04d/", p%c.sessions)
				wg.Go(func() {
					tokens := make(chan struct{}, c.inflight)
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						tokens <- struct{}{}
						s.Commit(&queue.Batch{Ops: []queue.Op{
							{Key: key("m/", int(n)), Value: payload},
							{Key: key(prefix, int(n)), Value: payload[:20]},
						}}, func(err error) {
							if err != nil {
								failed.Add(1)
							}
							<-tokens
						})
					}
					for range cap(tokens) {
						tokens <- struct{}{}
					}
				})
			}
			wg.Wait()
			if failed.Load() > 0 {
				b.Error(failed.Load(), "failed")
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// A message for 1,000 sessions: one batch of 1,001 sets.
func BenchmarkFanOut(b *testing.B) {
	s := open(b, b.TempDir(), queue.Options{})
	payload := bytes.Repeat([]byte("x"), 300)
	tokens := make(chan struct{}, 100)
	for n := range b.N {
		tokens <- struct{}{}
		ops := []queue.Op{{Key: key("m/", n), Value: payload}}
		for p := range 1000 {
			ops = append(ops, queue.Op{Key: key(fmt.Sprintf("q/session-%04d/", p), n), Value: payload[:20]})
		}
		s.Commit(&queue.Batch{Ops: ops}, func(error) { <-tokens })
	}
	for range cap(tokens) {
		tokens <- struct{}{}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// The queue of a session is thrown away: 100,000 entries at once.
func BenchmarkDeletePrefix(b *testing.B) {
	s := open(b, b.TempDir(), queue.Options{})
	for b.Loop() {
		b.StopTimer()
		fillQueue(b, s, 1, 100_000, 300)
		b.StartTimer()
		mustCommit(b, s, delPrefix("q/0000/"))
	}
}
