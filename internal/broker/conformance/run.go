package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// Target is the broker that scripts run against.
type Target struct {
	Conditions []string // what [..] in front of a step may name: "aws" or "standard", and the broker's name if it is not ours
	Dial       func(context.Context) (net.Conn, error)
	Clock      func(time.Duration) error   // lets time pass
	Restart    func(context.Context) error // ends the broker and starts it again with what it kept; nil if it keeps nothing
	Gone       func(drop func()) error     // calls drop, which closes a connection, and waits until the broker knows; nil does not wait
	Timeout    time.Duration               // for what is expected
	Quiet      time.Duration               // for what must not come
	Terse      bool                        // the broker may end MQTT 5 connections without a reason code, as section 4.13 lets it
}

// run is one run of a script.
type run struct {
	target  *Target
	version mqtt.Version
	clients map[string]*client
	vars    map[string]uint16
}

// Run runs the script in a version. Its error names the line, what was expected and what came.
func (s *Script) Run(ctx context.Context, v mqtt.Version, t *Target) error {
	r := &run{target: t, version: v, clients: map[string]*client{}, vars: map[string]uint16{}}
	defer func() {
		for _, c := range r.clients {
			c.close()
		}
	}()
	for i := 0; i < len(s.steps); {
		n := r.group(s.steps[i:])
		var err error
		if n > 1 {
			err = r.unordered(ctx, s.steps[i:i+n])
		} else if st := &s.steps[i]; r.applies(st) {
			err = r.step(ctx, st)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w", s.File, s.steps[i].line, s.steps[i].text, err)
		}
		i += n
	}
	return nil
}

// Clocks reports how long the script lets time pass in all.
func (s *Script) Clocks() time.Duration {
	var sum time.Duration
	for i := range s.steps {
		if s.steps[i].verb == "clock" {
			d, _ := time.ParseDuration(s.steps[i].args[0].value)
			sum += d
		}
	}
	return sum
}

// Restarts reports whether the script needs a target that can be restarted.
func (s *Script) Restarts() bool {
	return slices.ContainsFunc(s.steps, func(st step) bool { return st.verb == "restart" })
}

// applies reports whether the conditions of a step hold.
func (r *run) applies(st *step) bool {
	for _, c := range st.when {
		name, not := strings.CutPrefix(c, "!")
		if (name == r.version.String() || slices.Contains(r.target.Conditions, name)) == not {
			return false
		}
	}
	return true
}

// group returns how many steps from the first on form an unordered group.
func (r *run) group(steps []step) int {
	n := 0
	for n < len(steps) && steps[n].client == steps[0].client && strings.HasSuffix(steps[n].verb, "*") {
		n++
	}
	return max(n, 1)
}

func (r *run) step(ctx context.Context, st *step) error {
	if st.verb == "clock" {
		d, err := time.ParseDuration(st.args[0].value)
		if err != nil {
			return err
		}
		return r.target.Clock(d)
	}
	if st.verb == "restart" {
		return r.target.Restart(ctx)
	}
	if strings.Contains(st.client, "+") {
		return r.receiveOne(ctx, st)
	}
	c := r.clients[st.client]
	if c == nil {
		c = &client{name: st.client}
		r.clients[st.client] = c
	}
	list := r.resolve(st)
	if st.verb == ">" || st.verb == "connect" {
		var err error
		if list, err = r.dial(ctx, c, list); err != nil {
			return err
		}
	}
	if c.conn == nil {
		return errors.New("the client is not connected")
	}
	switch st.verb {
	case ">":
		return c.send(list[0].value, list[1:])
	case "<", "<*":
		return r.expect(ctx, c, st.args[0].value, st.args[1:])
	case "quiet":
		return r.quiet(ctx, c)
	case "closed":
		return r.closed(ctx, c, false)
	case "ends":
		return r.closed(ctx, c, true)
	case "drop":
		return r.drop(c)
	default:
		return r.exchange(ctx, c, strings.TrimSuffix(st.verb, "*"), list)
	}
}

// resolve replaces remembered packet identifiers in what is sent.
func (r *run) resolve(st *step) []arg {
	if st.verb == "<" || st.verb == "receive" {
		return st.args
	}
	list := slices.Clone(st.args)
	connects := st.verb == "connect" || len(list) > 0 && list[0].value == "connect" // by a client identifier
	for i := range list {
		if name, ok := strings.CutPrefix(list[i].value, "$"); ok && list[i].name == "id" && !connects {
			list[i].value = strconv.Itoa(int(r.vars[name]))
		}
	}
	return list
}

// dial connects a client that is not, and takes the version of its connection
// off its arguments.
func (r *run) dial(ctx context.Context, c *client, list []arg) ([]arg, error) {
	a := &args{list: list}
	v := r.version
	if text, ok := a.text("version", ""); ok {
		v = map[string]mqtt.Version{"3.1.1": mqtt.V311, "5": mqtt.V5}[text]
	}
	if c.conn != nil {
		return a.list, nil
	}
	conn, err := r.target.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c.open(conn, v)
	return a.list, nil
}

// drop closes a connection without a word.
func (r *run) drop(c *client) error {
	if r.target.Gone == nil {
		c.close()
		return nil
	}
	return r.target.Gone(c.close)
}

// exchange runs the operations that stand for several packets.
func (r *run) exchange(ctx context.Context, c *client, verb string, list []arg) error {
	a := &args{list: list}
	switch verb {
	case "connect":
		present, _ := a.text("present", "0")
		return join(c.send("connect", a.list), r.expect(ctx, c, "connack", []arg{{"present", present}}))
	case "subscribe":
		return r.subscribe(ctx, c, a)
	case "unsubscribe":
		return join(c.send("unsubscribe", list), r.expect(ctx, c, "unsuback", nil))
	case "publish":
		return r.publish(ctx, c, list)
	case "receive":
		return r.receive(ctx, c, list)
	case "ping":
		return join(c.send("pingreq", nil), r.expect(ctx, c, "pingresp", nil))
	case "disconnect":
		return join(c.send("disconnect", list), r.closed(ctx, c, false))
	case "refused":
		return r.refused(ctx, c, list[0].value)
	case "rejected":
		return r.rejected(ctx, c, list[0].value)
	default:
		return errors.New("no such operation")
	}
}

// refused expects that the server ends the connection with one of the codes.
func (r *run) refused(ctx context.Context, c *client, codes string) error {
	if c.version != mqtt.V5 || r.terse(ctx, c) {
		return r.closed(ctx, c, false)
	}
	return join(r.expect(ctx, c, "disconnect", []arg{{"code", codes}}), r.closed(ctx, c, false))
}

// terse reports whether the connection has ended without a word, and may.
func (r *run) terse(ctx context.Context, c *client) bool {
	return r.target.Terse && len(c.answers) == 0 && errors.Is(c.wait(ctx, r.target.Timeout), io.EOF)
}

// rejected expects that a CONNECT is refused with one of the codes.
func (r *run) rejected(ctx context.Context, c *client, codes string) error {
	if c.version != mqtt.V5 {
		first, _, _ := strings.Cut(codes, "|")
		n, err := strconv.ParseUint(first, 0, 8)
		if err != nil {
			return err
		}
		if _, ok := mqtt.ReasonCode(n).ReturnCode(); !ok {
			return r.closed(ctx, c, false)
		}
	}
	if c.version == mqtt.V5 && r.terse(ctx, c) {
		return r.closed(ctx, c, false)
	}
	return join(r.expect(ctx, c, "connack", []arg{{"code", codes}, {"present", "0"}}), r.closed(ctx, c, false))
}

func (r *run) subscribe(ctx context.Context, c *client, a *args) error {
	codes, named := a.text("codes", "")
	if err := c.send("subscribe", a.list); err != nil {
		return err
	}
	var want []arg
	if named {
		for code := range strings.SplitSeq(codes, ",") {
			want = append(want, arg{value: code})
		}
		return r.expect(ctx, c, "suback", want)
	}
	p := buildSubscribe(&args{list: a.list}, 0)
	for _, s := range p.Subscriptions {
		want = append(want, arg{value: strconv.Itoa(int(s.Options.QoS()))})
	}
	return r.expect(ctx, c, "suback", want)
}

func (r *run) publish(ctx context.Context, c *client, list []arg) error {
	if err := c.send("publish", list); err != nil {
		return err
	}
	switch qos := (&args{list: list}).number("qos", 0); qos {
	case 1:
		return r.expect(ctx, c, "puback", []arg{{"code", "0|0x10"}})
	case 2:
		id := []arg{{"id", strconv.Itoa(int(c.sent[mqtt.TypePublish]))}}
		return join(r.expect(ctx, c, "pubrec", []arg{{"code", "0|0x10"}}), c.send("pubrel", id), r.expect(ctx, c, "pubcomp", id))
	default:
		return nil
	}
}

func (r *run) receive(ctx context.Context, c *client, list []arg) error {
	if err := r.expect(ctx, c, "publish", list); err != nil {
		return err
	}
	return r.acknowledge(ctx, c, (&args{list: list}).number("qos", 0))
}

// receiveOne expects a message at exactly one of the clients A+B.
func (r *run) receiveOne(ctx context.Context, st *step) error {
	names := strings.Split(st.client, "+")
	if st.verb != "receive" {
		return errors.New("several clients can only receive")
	}
	pause := r.target.Quiet / 10
	for waited := time.Duration(0); waited < r.target.Timeout; waited += pause {
		for i, name := range names {
			c := r.clients[name]
			if err := c.wait(ctx, pause); err != nil && !errors.Is(err, errNothing) {
				return c.missing(err)
			}
			if len(c.messages) == 0 {
				continue
			}
			if err := r.receive(ctx, c, st.args); err != nil {
				return err
			}
			for _, other := range slices.Delete(names, i, i+1) {
				if err := r.quiet(ctx, r.clients[other]); err != nil {
					return fmt.Errorf("%s received it, but of %s: %w", name, other, err)
				}
			}
			return nil
		}
	}
	return errNothing
}

// acknowledge answers the PUBLISH that was expected last.
func (r *run) acknowledge(ctx context.Context, c *client, qos uint64) error {
	id := []arg{{"id", strconv.Itoa(int(c.received))}}
	switch qos {
	case 1:
		return c.send("puback", id)
	case 2:
		return join(c.send("pubrec", id), r.expect(ctx, c, "pubrel", id), c.send("pubcomp", id))
	default:
		return nil
	}
}

// send sends a packet, or raw bytes.
func (c *client) send(kind string, list []arg) error {
	if kind == "raw" {
		b, err := unhex(list[0].value)
		if err != nil {
			return err
		}
		_, _ = c.conn.Write(b) // the server may have closed already: what follows tells
		return nil
	}
	c.nextID++
	a := &args{list: slices.Clone(list)}
	id := c.nextID
	switch kind {
	case "puback", "pubrec", "pubcomp":
		id = c.received
	case "pubrel":
		id = c.sent[mqtt.TypePublish]
	}
	p, err := build(kind, a, c.version, id, c.name)
	if err != nil {
		return err
	}
	switch p := p.(type) {
	case *mqtt.Publish:
		c.sent[mqtt.TypePublish] = p.ID
	case *mqtt.Subscribe:
		c.sent[mqtt.TypeSubscribe] = p.ID
	case *mqtt.Unsubscribe:
		c.sent[mqtt.TypeUnsubscribe] = p.ID
	}
	b, err := p.Append(nil, c.version)
	if err != nil {
		return err
	}
	_, _ = c.conn.Write(b)
	return nil
}

// answered returns the identifier that an answer of this kind has to repeat, 0 for any.
func (c *client) answered(kind string) uint16 {
	switch kind {
	case "suback":
		return c.sent[mqtt.TypeSubscribe]
	case "unsuback":
		return c.sent[mqtt.TypeUnsubscribe]
	case "puback", "pubrec", "pubcomp":
		return c.sent[mqtt.TypePublish]
	case "pubrel":
		return c.received
	default:
		return 0
	}
}

// queue returns the stream that packets of a kind come in.
func (c *client) queue(kind string) *[]mqtt.Packet {
	if kind == "publish" {
		return &c.messages
	}
	return &c.answers
}

// expect takes the next packet of the kind's stream and compares it.
func (r *run) expect(ctx context.Context, c *client, kind string, list []arg) error {
	q := c.queue(kind)
	for len(*q) == 0 {
		if err := c.wait(ctx, r.target.Timeout); err != nil {
			return c.missing(err)
		}
	}
	p := (*q)[0]
	if err := match(p, kind, list, c.answered(kind), r.vars); err != nil {
		return fmt.Errorf("%w: %s", err, describe(p))
	}
	c.take(q, 0)
	return nil
}

func (c *client) missing(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("the server has closed the connection")
	}
	return fmt.Errorf("%w%s", err, c.unread())
}

// take removes a packet from its queue.
func (c *client) take(q *[]mqtt.Packet, i int) {
	switch p := (*q)[i].(type) {
	case *mqtt.Publish:
		c.received = p.ID
	case *mqtt.Ack:
		if p.Type == mqtt.TypePubrel {
			c.received = p.ID
		}
	}
	*q = slices.Delete(*q, i, i+1)
}

// unordered expects the packets of a group, in any order.
func (r *run) unordered(ctx context.Context, steps []step) error {
	var open []*step
	for i := range steps {
		if r.applies(&steps[i]) {
			open = append(open, &steps[i])
		}
	}
	c := r.clients[steps[0].client]
	for len(open) > 0 {
		kind, _ := pattern(open[0])
		q := c.queue(kind)
		for len(*q) == 0 {
			if err := c.wait(ctx, r.target.Timeout); err != nil {
				return fmt.Errorf("%d of the group are missing: %w", len(open), c.missing(err))
			}
		}
		i := slices.IndexFunc(open, func(st *step) bool {
			kind, list := pattern(st)
			return match((*q)[0], kind, list, c.answered(kind), r.vars) == nil
		})
		if i < 0 {
			return fmt.Errorf("not in the group: %s", describe((*q)[0]))
		}
		c.take(q, 0)
		if st := open[i]; st.verb == "receive*" {
			if err := r.acknowledge(ctx, c, (&args{list: st.args}).number("qos", 0)); err != nil {
				return err
			}
		}
		open = slices.Delete(open, i, i+1)
	}
	return nil
}

// pattern returns what a step of a group expects.
func pattern(st *step) (kind string, list []arg) {
	if st.verb == "receive*" {
		return "publish", st.args
	}
	return st.args[0].value, st.args[1:]
}

// quiet expects that nothing comes and that the connection stays.
func (r *run) quiet(ctx context.Context, c *client) error {
	err := errNothing
	if len(c.messages)+len(c.answers) == 0 {
		err = c.wait(ctx, r.target.Quiet)
	}
	if errors.Is(err, errNothing) && len(c.messages)+len(c.answers) == 0 {
		return nil
	}
	if err == nil || errors.Is(err, errNothing) {
		return fmt.Errorf("something came%s", c.unread())
	}
	return c.missing(err)
}

// closed expects the end of the connection, with nothing unread before it
// unless whatever.
func (r *run) closed(ctx context.Context, c *client, whatever bool) error {
	for {
		err := c.wait(ctx, r.target.Timeout)
		switch {
		case errors.Is(err, io.EOF):
			if s := c.unread(); s != "" && !whatever {
				return fmt.Errorf("before the end came%s", s)
			}
			c.close()
			return nil
		case err != nil:
			return fmt.Errorf("the connection is open: %w%s", err, c.unread())
		}
	}
}
