package broker

// Timers is how many entries the wheels have.
func (b *Broker) Timers() (n int) {
	for _, l := range b.loops {
		done := make(chan int, 1)
		if l.post(mailFunc(func(l *loop) { done <- l.wheel.n })) {
			n += <-done
		}
	}
	return n
}

// Hold runs f while the first loop waits for it.
func (b *Broker) Hold(f func()) {
	done := make(chan struct{})
	if b.loops[0].post(mailFunc(func(*loop) { f(); close(done) })) {
		<-done
	}
}
