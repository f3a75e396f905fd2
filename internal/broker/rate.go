package broker

import (
	"time"
)

// bucket is a token bucket that holds a second's worth.
type bucket struct {
	rate, tokens float64
	at           time.Time
}

func newBucket(rate float64, now time.Time) *bucket {
	return &bucket{rate: rate, tokens: max(rate, 1), at: now}
}

// empty reports whether nothing may be taken at the moment.
func (b *bucket) empty(now time.Time) bool {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*b.rate, max(b.rate, 1))
		b.at = now
	}
	return b.tokens <= 0
}

func (b *bucket) take(n float64) { b.tokens -= n }

// takeRate counts a PUBLISH. A client that is over its rate is not read until
// it is below again: nothing is lost.
func (c *conn) takeRate(n int) {
	if c.rate == nil && c.bytes == nil {
		return
	}
	if c.rate != nil {
		c.rate.take(1)
	}
	if c.bytes != nil {
		c.bytes.take(float64(n))
	}
	if c.throttled() {
		c.loop.b.observer.Limit("publish_rate")
		c.pause()
		c.arm(c.loop.sec + 1)
	}
}

// throttled reports whether the client is over one of its rates.
func (c *conn) throttled() bool {
	now := c.loop.now
	return c.rate != nil && c.rate.empty(now) || c.bytes != nil && c.bytes.empty(now)
}
