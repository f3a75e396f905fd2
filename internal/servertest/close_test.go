package servertest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// Whatever a server starts has ended when Close returns.
func TestCloseWaits(t *testing.T) { //nolint:paralleltest // other servers' goroutines would be seen
	before := goleak.IgnoreCurrent()
	t.Run("server", func(t *testing.T) {
		s := servertest.Start(t)
		s.Fleet()
		d := s.Enrol("pump")
		must(t, put(t, s.S3As(d.Session()), "pump/x"))
		c := d.TLS()
		c.NextProtos = []string{"x-amzn-http-ca"}
		wantAnswer(t, d.AskOver(c, servertest.Alias), 200, "")
		d.DialMQTT("x-amzn-mqtt-ca")
	})
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
