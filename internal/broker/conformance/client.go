package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// client is one client of a script: at most one TCP connection at a time.
type client struct {
	name    string
	conn    net.Conn
	version mqtt.Version
	nextID  uint16
	// sent holds the identifier of the last packet of each kind, which its answer repeats.
	sent     map[mqtt.PacketType]uint16
	received uint16 // identifier of the last PUBLISH that was expected
	incoming chan item
	messages []mqtt.Packet // PUBLISH packets that were read and not yet expected
	answers  []mqtt.Packet // the others
	end      error         // why nothing more comes, nil while something may
}

// item is what the reader of a connection saw.
type item struct {
	packet mqtt.Packet
	err    error
}

// open takes over a new connection and starts to read it.
func (c *client) open(conn net.Conn, v mqtt.Version) {
	c.conn, c.version, c.end = conn, v, nil
	c.messages, c.answers = nil, nil
	c.sent = map[mqtt.PacketType]uint16{}
	c.incoming = make(chan item, 4096)
	go read(conn, v, c.incoming)
}

// read decodes what comes until the connection ends.
func read(conn io.Reader, v mqtt.Version, out chan<- item) {
	defer close(out)
	var buf []byte
	chunk := make([]byte, 64<<10)
	d := &mqtt.Decoder{Version: v, From: mqtt.Server}
	for {
		n, err := conn.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			size, ferr := mqtt.Frame(buf, 0)
			if ferr != nil {
				out <- item{err: fmt.Errorf("the server sent no packet: %w", ferr)}
				return
			}
			if size == 0 {
				break
			}
			frame := append([]byte(nil), buf[:size]...)
			buf = buf[size:]
			p := mqtt.New(mqtt.TypeOf(frame))
			if derr := p.Decode(d, frame); derr != nil {
				out <- item{err: fmt.Errorf("the server sent %x: %w", frame[:min(len(frame), 64)], derr)}
				return
			}
			out <- item{packet: p}
		}
		if err != nil {
			out <- item{err: io.EOF} // a reset is an end, too
			return
		}
	}
}

// errNothing says that nothing came in time.
var errNothing = errors.New("nothing came")

// wait reads one more packet into the queues, at most for d.
func (c *client) wait(ctx context.Context, d time.Duration) error {
	if c.end != nil {
		return c.end
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case it := <-c.incoming:
		if it.err != nil {
			c.end = it.err
			return it.err
		}
		switch p := it.packet.(type) {
		case *mqtt.Publish:
			c.messages = append(c.messages, p)
		default:
			if _, ok := p.(*mqtt.Connack); ok && len(c.messages)+len(c.answers) > 0 {
				return errors.New("CONNACK is not the first packet")
			}
			c.answers = append(c.answers, p)
		}
		return nil
	case <-timer.C:
		return errNothing
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unread describes what has come and was not expected.
func (c *client) unread() string {
	var s strings.Builder
	for _, p := range slices.Concat(c.messages, c.answers) {
		s.WriteString("; " + describe(p))
	}
	return s.String()
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		for range c.incoming { // the reader ends with the connection
			continue
		}
		c.conn = nil
	}
}
