package pki

import (
	"crypto/rsa"
	"io"
	"sync"
	"time"
)

// keyBits is the size of the keys that CreateKeysAndCertificate makes.
const keyBits = 2048

// firstKeys are wanted soon.
const firstKeys = 8

// KeyPool makes RSA keys ahead of need, because a key takes a tenth of a second
// and more. It makes one at a time, the first few for half of one processor's
// time, and the others for a quarter while the process has little else to do.
type KeyPool struct {
	rand  io.Reader
	used  func() time.Duration
	keys  chan *rsa.PrivateKey
	stop  chan struct{}
	done  chan struct{}
	close sync.Once
}

// Pauses between two keys: the least, and for how long a busy process is left alone.
const (
	shortestPause = 20 * time.Millisecond
	busyPause     = time.Second
)

// NewKeyPool returns a pool of at most size keys; it begins to fill after delay.
// used is the processor time that the process has used; nil means that it is never busy.
func NewKeyPool(size int, delay time.Duration, rand io.Reader, used func() time.Duration) *KeyPool {
	if used == nil {
		used = func() time.Duration { return 0 }
	}
	p := &KeyPool{rand: rand, used: used, keys: make(chan *rsa.PrivateKey, size), stop: make(chan struct{}), done: make(chan struct{})}
	go p.fill(delay)
	return p
}

// Key returns a key that nobody else gets: a ready one, or else a new one.
func (p *KeyPool) Key() (*rsa.PrivateKey, error) {
	select {
	case k := <-p.keys:
		return k, nil
	default:
		return rsa.GenerateKey(p.rand, keyBits)
	}
}

// Ready returns how many keys are ready.
func (p *KeyPool) Ready() int { return len(p.keys) }

// Close ends the filling and waits for it. It is idempotent; Key goes on to work.
func (p *KeyPool) Close() {
	p.close.Do(func() { close(p.stop) })
	<-p.done
}

func (p *KeyPool) fill(pause time.Duration) {
	defer close(p.done)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		before := p.used()
		select {
		case <-timer.C:
		case <-p.stop:
			return
		}
		// Busy is who used a fifth of one processor in the pause.
		if len(p.keys) >= firstKeys && p.used()-before > pause/5 {
			pause = busyPause
			timer.Reset(pause)
			continue
		}
		k, took, err := p.generate()
		if err != nil {
			return // without randomness there are no keys; Key says so to who asks
		}
		select {
		case p.keys <- k:
		case <-p.stop:
			return
		}
		if pause = max(took, shortestPause); len(p.keys) >= firstKeys {
			pause *= 3
		}
		timer.Reset(pause)
	}
}

// generate also measures how long the processor was busy, which is no
// business of the injected clock.
func (p *KeyPool) generate() (*rsa.PrivateKey, time.Duration, error) {
	start := time.Now() //nolint:forbidigo // measures the processor, not the service's time
	k, err := rsa.GenerateKey(p.rand, keyBits)
	return k, time.Since(start), err //nolint:forbidigo // likewise
}
