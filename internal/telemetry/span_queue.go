package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	queuedSpans = 2048
	batchSpans  = 512
	batchWait   = 5 * time.Second // that the first span of a batch waits for others
	retries     = 3
	retryWait   = time.Second // before the first try again, then four times as long
)

// spanQueue hands ended spans to export, in batches and from a goroutine of its
// own. It implements sdktrace.SpanProcessor; the SDK's own does not tell what
// it dropped.
type spanQueue struct {
	export  func(context.Context, []sdktrace.ReadOnlySpan) error
	dropped *prometheus.CounterVec // by reason

	spans chan sdktrace.ReadOnlySpan
	stop  chan struct{} // closed by Shutdown
	once  sync.Once
	done  chan struct{}      // closed when the goroutine has ended
	abort context.CancelFunc // ends what is being sent
}

func newSpanQueue(ctx context.Context, export func(context.Context, []sdktrace.ReadOnlySpan) error, dropped *prometheus.CounterVec) *spanQueue {
	q := &spanQueue{
		export: export, dropped: dropped,
		spans: make(chan sdktrace.ReadOnlySpan, queuedSpans), stop: make(chan struct{}), done: make(chan struct{}),
	}
	ctx, q.abort = context.WithCancel(ctx)
	go q.run(ctx)
	return q
}

// OnStart implements sdktrace.SpanProcessor.
func (*spanQueue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a span, or drops it where there is no room.
func (q *spanQueue) OnEnd(s sdktrace.ReadOnlySpan) {
	select {
	case q.spans <- s:
	default:
		q.dropped.WithLabelValues("queue_full").Inc()
	}
}

// ForceFlush implements sdktrace.SpanProcessor; nobody calls it.
func (*spanQueue) ForceFlush(context.Context) error { return nil }

// Shutdown sends what waits, for as long as ctx lasts.
func (q *spanQueue) Shutdown(ctx context.Context) error {
	q.once.Do(func() { close(q.stop) })
	select {
	case <-q.done:
	case <-ctx.Done():
		q.abort()
		<-q.done
	}
	q.abort()
	return nil
}

func (q *spanQueue) run(ctx context.Context) {
	defer close(q.done)
	batch := make([]sdktrace.ReadOnlySpan, 0, batchSpans)
	full := time.NewTimer(batchWait)
	full.Stop()
	for {
		select {
		case s := <-q.spans:
			if batch = append(batch, s); len(batch) == 1 {
				full.Reset(batchWait)
			}
			if len(batch) < batchSpans {
				continue
			}
		case <-full.C:
		case <-q.stop:
			q.drain(ctx, batch)
			return
		}
		full.Stop()
		q.send(ctx, batch)
		clear(batch)
		batch = batch[:0]
	}
}

// drain sends what is left.
func (q *spanQueue) drain(ctx context.Context, batch []sdktrace.ReadOnlySpan) {
	for {
		select {
		case s := <-q.spans:
			if batch = append(batch, s); len(batch) < batchSpans {
				continue
			}
			q.send(ctx, batch)
			batch = batch[:0]
			continue
		default:
		}
		if len(batch) > 0 {
			q.send(ctx, batch)
		}
		return
	}
}

// send tries a batch again where that may help; meanwhile the queue fills.
func (q *spanQueue) send(ctx context.Context, batch []sdktrace.ReadOnlySpan) {
	wait := retryWait
	for try := 0; ; try++ {
		err := q.export(ctx, batch)
		if err == nil {
			return
		}
		if refused, ok := errors.AsType[*refusedError](err); ok {
			if !refused.again {
				break
			}
			wait = max(wait, refused.after)
		}
		if try == retries || !q.pause(ctx, wait) {
			break
		}
		wait *= 4
	}
	q.dropped.WithLabelValues("not_exported").Add(float64(len(batch)))
}

// pause waits, and reports false when the queue is to end.
func (q *spanQueue) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-q.stop:
	case <-ctx.Done():
	}
	return false
}
