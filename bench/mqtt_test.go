//go:build bench

package bench_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// mqttBench is the part "mqtt".
type mqttBench struct {
	*settings
	dir          string
	mosquittoBin string // "": not there
	missed       []string

	things                int // how many the scenarios need
	keys                  []*ecdsa.PrivateKey
	issued                [][]byte // certificates of the benchmark's own CA, by thing
	registered            [][]byte // certificates that Sekisho issued, by thing
	deviceCA              string   // files
	serverCert, serverKey string
	roots                 *x509.CertPool
	server                *process.Server // nil until it is needed
}

// scenario is what -mqtt selects.
type scenario struct {
	name   string
	things int // with certificates that it takes
	run    func(context.Context) error
}

func (m *mqttBench) scenarios() []scenario {
	plain := func(which ...string) func(context.Context) error {
		return func(ctx context.Context) error { return m.plain(ctx, which...) }
	}
	const storm = 5000 // at fewer things, AWS's limit of one CONNECT a second of a thing would set the pace
	return []scenario{
		{"plain", 0, plain("1→1", "50→1", "1→100")},
		{"1to1", 0, plain("1→1")},
		{"50to1", 0, plain("50→1")},
		{"1to100", 0, plain("1→100")},
		{"tls", 400, m.overTLS},
		{"loops", 0, m.loops},
		{"latency", 0, m.latency},
		{"idle", 0, m.idlePlain},
		{"idletls", 5000, m.idleTLS},
		{"handshake", storm, m.handshakes},
		{"storm", storm, m.storm},
		{"durable", 1400, m.durable},
	}
}

const defaultScenarios = "plain,tls,loops,latency,idle,idletls,handshake,storm,durable"

func (s *settings) mqttPart(ctx context.Context, dir string) (err error) {
	m := &mqttBench{settings: s, dir: dir}
	if err := m.find(ctx); err != nil {
		return err
	}
	var run []scenario
	for name := range strings.SplitSeq(s.mqtt, ",") {
		i := slices.IndexFunc(m.scenarios(), func(c scenario) bool { return c.name == name })
		if i < 0 {
			return fmt.Errorf("no scenario is called %q", name)
		}
		run = append(run, m.scenarios()[i])
		m.things = max(m.things, run[len(run)-1].things)
	}
	if m.serverCert, m.serverKey, m.roots, err = serverCertificate(dir); err != nil {
		return err
	}
	if err := m.issue(); err != nil {
		return err
	}
	defer func() {
		if m.server != nil {
			err = errors.Join(err, m.server.Kill())
		}
	}()
	for _, c := range run {
		begun := time.Now()
		if err := c.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("\n%s: %.0f s\n", c.name, time.Since(begun).Seconds())
	}
	fmt.Println()
	for _, line := range m.missed {
		fmt.Println("- goal missed:", line)
	}
	return nil
}

// find looks for mosquitto, in Debian's place for daemons, too.
func (m *mqttBench) find(ctx context.Context) error {
	if m.mqttProfile != "" {
		return nil // it would only take time
	}
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			m.mosquittoBin = path
			out, _ := exec.CommandContext(ctx, path, "-h").Output() // which ends with 3
			version, _, _ := strings.Cut(string(out), "\n")
			fmt.Printf("\nCompared with %s; MQTT 3.1.1, %d bytes of payload; broker and generator have a core each where nothing else is said\n", version, payloadSize)
			return nil
		}
	}
	fmt.Println("\nmosquitto is not installed: its columns are left out (apt-get install mosquitto)")
	return nil
}

// goal checks a figure, and remembers it if it was missed.
func (m *mqttBench) goal(what string, ok bool, figure, goal string) {
	if !ok {
		m.missed = append(m.missed, fmt.Sprintf("%s: %s, goal %s", what, figure, goal))
	}
}

func (m *mqttBench) turn() time.Duration { return m.round / 3 }

// shapes are those of the issue with their windows and bursts. One subscriber
// of one publisher is given many packets at a time; of fifty publishers each
// sends a packet as soon as it may. At QoS 0 the windows are wide enough for
// mosquitto, which leaves TCP_NODELAY off, never to wait for an
// acknowledgement of TCP; at QoS 1 they are within AWS's limit of 100 messages
// under way to or from a connection.
func shapes(qos mqtt.QoS) []shape {
	if qos == 0 {
		return []shape{
			{name: "1→1", pubs: 1, subs: 1, window: 1000, batch: 500},
			{name: "50→1", pubs: 50, subs: 1, window: 20, batch: 1},
			{name: "1→100", pubs: 1, subs: 100, window: 100, batch: 50},
		}
	}
	return []shape{
		{name: "1→1", pubs: 1, subs: 1, window: 100, batch: 50, qos: 1},
		{name: "50→1", pubs: 50, subs: 1, window: 2, batch: 1, qos: 1},
		{name: "1→100", pubs: 1, subs: 100, window: 100, batch: 50, qos: 1},
	}
}

// times is how many times less processor time than mosquitto a delivered
// message is to cost at each QoS.
func times(name string) [2]float64 {
	return map[string][2]float64{"1→1": {4, 6}, "50→1": {1.3, 2.5}, "1→100": {8, 8}}[name]
}

func (m *mqttBench) plain(ctx context.Context, which ...string) error {
	ours, err := m.bare(ctx, 1, false, oneCore)
	if err != nil {
		return err
	}
	theirs, err := m.mosquitto(ctx, false, false, oneCore)
	if err != nil {
		return errors.Join(err, ours.stop())
	}
	err = m.against(ctx, "MQTT without TLS, one loop, policies on", ours, theirs, 1, which)
	return errors.Join(err, end(ours, theirs))
}

func (m *mqttBench) overTLS(ctx context.Context) error {
	ours, err := m.serve(ctx, oneCore)
	if err != nil {
		return err
	}
	theirs, err := m.mosquitto(ctx, true, false, oneCore)
	if err != nil {
		return errors.Join(err, ours.stop())
	}
	err = m.against(ctx, "MQTT over mutual TLS 1.3, P-256, one core, policies on", ours, theirs, 0.5, []string{"1→1", "50→1", "1→100"})
	return errors.Join(err, end(ours, theirs))
}

func end(targets ...*target) error {
	var errs []error
	for _, t := range targets {
		if t != nil {
			errs = append(errs, t.stop())
		}
	}
	return errors.Join(errs...)
}

// against compares the broker's processor time for a delivered message.
func (m *mqttBench) against(ctx context.Context, title string, ours, theirs *target, share float64, which []string) error {
	rows := [][]string{{"", "QoS", "CPU a delivery", "mosquitto", "times less", "goal", "deliveries", "mosquitto"}}
	for qos := range mqtt.QoS(2) {
		for _, s := range shapes(qos) {
			if !slices.Contains(which, s.name) {
				continue
			}
			sides, err := m.turns(ctx, s, m.rounds, ours, theirs)
			if err != nil {
				return err
			}
			row := []string{s.name, fmt.Sprint(qos), micro2(sides[0].cpu()), "", "", "", perSecond(sides[0]), ""}
			if theirs != nil {
				want, got := times(s.name)[qos]*share, less(sides[1], sides[0])
				row[3], row[4], row[5], row[7] = micro2(sides[1].cpu()), fmt.Sprintf("%.1f", got), fmt.Sprintf("≥ %.2g", want), perSecond(sides[1])
				m.goal(fmt.Sprintf("%s, %s QoS %d", title, s.name, qos), got >= want, row[4]+" times less CPU than mosquitto", row[5])
			}
			rows = append(rows, row)
		}
	}
	table(title, rows...)
	return nil
}

// turns runs a shape on each target by turns, a short round first.
func (m *mqttBench) turns(ctx context.Context, s shape, rounds int, targets ...*target) (sides []*contestant, err error) {
	var groups []*group
	defer func() {
		for _, g := range groups {
			err = errors.Join(err, g.close())
		}
	}()
	for _, t := range targets {
		if t == nil {
			continue
		}
		g, err := join(ctx, t, s)
		if err != nil {
			return nil, err
		}
		groups, sides = append(groups, g), append(sides, &contestant{name: t.name, pid: t.pid})
	}
	for round := range rounds + 1 {
		for i, g := range groups {
			d := m.turn()
			if round == 0 {
				d /= 3
			}
			l, err := g.burst(d)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				sides[i].loads = append(sides[i].loads, l)
			}
		}
	}
	return sides, nil
}

// less is the median of the rounds' ratios of processor time.
func less(more, less *contestant) float64 {
	var v []float64
	for i := range more.loads {
		v = append(v, float64(more.loads[i].cpu)/float64(less.loads[i].cpu))
	}
	return median(v)
}

func micro2(d time.Duration) string {
	return fmt.Sprintf("%.2f µs", float64(d)/float64(time.Microsecond))
}

func perSecond(c *contestant) string { return fmt.Sprintf("%.0f/s", median(c.rates())) }

// loops compares two loops with one: on one core, which shows what it costs
// that loops hand messages to each other, and on all, where two loops also find
// less to do at each turn and the generator takes its part of the cores.
func (m *mqttBench) loops(ctx context.Context) error {
	rows := [][]string{{"", "cores", "CPU a delivery, two", "one", "times more", "goal", "deliveries, two", "one"}}
	for _, c := range []cores{oneCore, allCores} {
		more, err := m.loopsOn(ctx, c)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	table("Two loops against one, without TLS, QoS 1", rows...)
	return nil
}

func (m *mqttBench) loopsOn(ctx context.Context, c cores) (rows [][]string, err error) {
	one, err := m.bare(ctx, 1, false, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.stop()) }()
	two, err := m.bare(ctx, 2, false, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, two.stop()) }()
	const limit = 1.2
	name := map[cores]string{oneCore: "one", allCores: "all"}[c]
	for _, s := range append(shapes(1), shape{name: "50→50", pubs: 50, subs: 50, window: 2, batch: 1, qos: 1}) {
		sides, err := m.turns(ctx, s, m.rounds/2+1, two, one)
		if err != nil {
			return nil, err
		}
		ratio := less(sides[0], sides[1])
		row := []string{s.name, name, micro2(sides[0].cpu()), micro2(sides[1].cpu()), fmt.Sprintf("%.2f", ratio), fmt.Sprintf("≤ %.1f", limit), perSecond(sides[0]), perSecond(sides[1])}
		m.goal(fmt.Sprintf("two loops against one, %s cores, %s", name, s.name), ratio <= limit, row[4]+" times the CPU of one loop", row[5])
		rows = append(rows, row)
	}
	return rows, nil
}

// latency has one publisher send at a moderate rate, whatever comes back.
func (m *mqttBench) latency(ctx context.Context) error {
	ours, err := m.bare(ctx, 1, false, oneCore)
	if err != nil {
		return err
	}
	theirs, err := m.mosquitto(ctx, false, true, oneCore)
	if err != nil {
		return errors.Join(err, ours.stop())
	}
	rows := [][]string{{"1→1, open loop", "QoS", "p50", "p99", "mosquitto p50", "p99"}}
	for _, rate := range []int{200, 2000} {
		for qos := range mqtt.QoS(2) {
			row := []string{fmt.Sprintf("%d/s", rate), fmt.Sprint(qos)}
			for _, t := range []*target{ours, theirs} {
				if t == nil {
					row = append(row, "", "")
					continue
				}
				g, err := join(ctx, t, shape{name: "latency", pubs: 1, subs: 1, qos: qos})
				if err != nil {
					return errors.Join(err, end(ours, theirs))
				}
				took, err := g.pace(m.turn()*2, rate)
				if err = errors.Join(err, g.close()); err != nil {
					return errors.Join(err, end(ours, theirs))
				}
				row = append(row, micro(quantile(took, 0.5)), micro(quantile(took, 0.99)))
			}
			rows = append(rows, row)
		}
	}
	table("Latency from publisher to subscriber, without TLS, TCP_NODELAY on both sides", rows...)
	return end(ours, theirs)
}

func quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[min(int(q*float64(len(v))), len(v)-1)]
}
