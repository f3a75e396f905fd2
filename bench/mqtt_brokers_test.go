//go:build bench

package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// target is a broker under test.
type target struct {
	name, addr  string
	pid         int
	fleet       int                             // how many things may connect
	roots       *x509.CertPool                  // of its server certificate
	certificate func(thing int) tls.Certificate // nil: plain TCP
	stop        func() error
	next        int
}

// take gives the next n things: none connects twice in a second, which AWS's
// quotas refuse.
func (t *target) take(n int) func(i int) int {
	base := t.next
	t.next = (base + n) % t.fleet
	return func(i int) int { return (base + i) % t.fleet }
}

// cpu is the processor time that the broker has used, of threads that have
// ended, too, to the nanosecond (clock_getcpuclockid(3)).
func (t *target) cpu() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^t.pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("processor time of %s: %w", t.name, err)
	}
	return time.Duration(ts.Nano()), nil
}

// pin binds all threads of a process, and those to come, to processors.
func pin(pid int, cpus ...int) error {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	for range 2 { // a thread may have been made meanwhile
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, t := range tasks {
			tid, _ := strconv.Atoi(t.Name())
			if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("pin: %w", err)
			}
		}
	}
	return nil
}

// cores are the processors that a broker may use: the first, or all. The
// generator has the others, or all.
type cores int

const (
	allCores cores = iota
	oneCore
)

// place runs start, which starts a broker, and gives it its processors.
func (c cores) place(start func() (pid int, err error)) error {
	var all []int
	for i := range runtime.NumCPU() {
		all = append(all, i)
	}
	broker, generator := all, all
	if c == oneCore && len(all) > 1 {
		broker, generator = all[:1], all[1:]
	}
	if c == oneCore {
		// A Go program counts processors when it starts.
		if err := os.Setenv("GOMAXPROCS", "1"); err != nil {
			return err
		}
		defer os.Unsetenv("GOMAXPROCS") //nolint:errcheck // it was there
	}
	if err := pin(os.Getpid(), all...); err != nil {
		return err
	}
	pid, err := start()
	if err != nil {
		return err
	}
	return errors.Join(pin(pid, broker...), pin(os.Getpid(), generator...))
}

// child starts a process of the benchmark's own, which ends with it.
func child(ctx context.Context, log string, env []string, name string, args ...string) (*exec.Cmd, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// self runs this binary again with a task and returns the line that it prints
// when it is ready. It ends when stop is called.
func self(ctx context.Context, log, env string, task any) (cmd *exec.Cmd, line string, stop func() (string, error), err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, "", nil, err
	}
	b, err := json.Marshal(task)
	if err != nil {
		return nil, "", nil, err
	}
	if cmd, err = child(ctx, log, []string{env + "=" + string(b)}, exe); err != nil {
		return nil, "", nil, err
	}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, "", nil, err
	}
	if err := startLocked(cmd); err != nil {
		return nil, "", nil, err
	}
	r := bufio.NewReader(out)
	stop = func() (string, error) {
		_ = in.Close()
		last, _ := io.ReadAll(r)
		return strings.TrimSpace(string(last)), cmd.Wait()
	}
	if line, err = r.ReadString('\n'); err != nil {
		_, err = stop()
		text, _ := os.ReadFile(log)
		return nil, "", nil, fmt.Errorf("%s: %w\n%s", env, err, text)
	}
	return cmd, strings.TrimSpace(line), stop, nil
}

// startLocked starts cmd from a thread that stays: its parent-death signal is
// tied to the thread.
func startLocked(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		if f, ok := cmd.Stderr.(*os.File); ok {
			_ = f.Close() // the child has its own
		}
		started <- err
		select {} // the thread lives as long as the benchmark
	}()
	return <-started
}

// bare is the broker alone behind a plain or a TLS listener.
func (m *mqttBench) bare(ctx context.Context, loops int, secure bool, c cores) (*target, error) {
	task := bareTask{Loops: loops, Profile: m.mqttProfile}
	if secure {
		task.Cert, task.Key = m.serverCert, m.serverKey
	}
	if loops > 1 && task.Profile != "" {
		task.Profile += fmt.Sprint(".", loops)
	}
	t := &target{name: "sekisho", fleet: 1 << 14}
	err := c.place(func() (int, error) {
		cmd, addr, stop, err := self(ctx, filepath.Join(m.dir, "bare.log"), bareMQTTEnv, task)
		if err != nil {
			return 0, err
		}
		t.addr, t.pid = addr, cmd.Process.Pid
		t.stop = func() error {
			text, err := stop()
			if text != "" {
				fmt.Println(text)
			}
			return err
		}
		return t.pid, nil
	})
	if secure {
		t.fleet, t.roots, t.certificate = m.things, m.roots, m.own
	}
	return t, err
}

// mosquitto starts one of its own; nil if it is not there.
func (m *mqttBench) mosquitto(ctx context.Context, secure, noDelay bool, c cores) (*target, error) {
	if m.mosquittoBin == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &target{name: "mosquitto", addr: l.Addr().String(), fleet: 1 << 14}
	_, port, _ := net.SplitHostPort(t.addr)
	_ = l.Close()
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\nmax_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay %t\n", port, noDelay)
	if os.Getuid() == 0 {
		conf += "user root\n" // another one could not read the certificates
	}
	if secure {
		conf += fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\n", m.deviceCA, m.serverCert, m.serverKey)
		t.fleet, t.roots, t.certificate = m.things, m.roots, m.own
	}
	file := filepath.Join(m.dir, "mosquitto-"+port+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	err = c.place(func() (int, error) {
		cmd, err := child(ctx, filepath.Join(m.dir, "mosquitto.log"), nil, m.mosquittoBin, "-c", file)
		if err == nil {
			err = startLocked(cmd)
		}
		if err != nil {
			return 0, err
		}
		t.pid = cmd.Process.Pid
		t.stop = func() error {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait() // of a server that was told to end
			return nil
		}
		return t.pid, awaitPort(ctx, t.addr)
	})
	return t, err
}

func awaitPort(ctx context.Context, addr string) (err error) {
	for range 200 {
		var c net.Conn
		if c, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr); err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// serve is bin/sekisho with its MQTT listener, real things, certificates and a
// policy, started anew.
func (m *mqttBench) serve(ctx context.Context, c cores) (*target, error) {
	if m.mqttServer == "bare" {
		return m.bare(ctx, int(c), true, c) // 1 loop for one core, 0 for all
	}
	t := &target{name: "sekisho", fleet: m.things, roots: m.roots, certificate: m.enrolled}
	err := c.place(func() (pid int, err error) {
		if m.server == nil {
			if err := m.register(ctx); err != nil {
				return 0, err
			}
		}
		t.stop = func() error { return second(m.server.Stop()) }
		err = m.server.Restart(ctx)
		return m.server.PID(), err
	})
	if err != nil {
		return nil, err
	}
	t.pid = m.server.PID()
	endpoints, err := m.server.Endpoints()
	if err == nil && endpoints["mqtt"] == "" {
		err = errors.New("bin/sekisho has no MQTT listener")
	}
	if err != nil {
		return nil, errors.Join(err, t.stop())
	}
	t.addr = endpoints["mqtt"]
	return t, nil
}

// devicePolicy is what every thing may do.
const devicePolicy = `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:us-east-1:000000000000:client/${iot:Connection.Thing.ThingName}","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}},
{"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish"],"Resource":"arn:aws:iot:us-east-1:000000000000:topic/bench/*/${iot:Connection.Thing.ThingName}"},
{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:us-east-1:000000000000:topicfilter/bench/*"},
{"Effect":"Allow","Action":"iot:Receive","Resource":"arn:aws:iot:us-east-1:000000000000:topic/bench/*"},
{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:us-east-1:000000000000:topic/bench/admin/*"}]}`

// register makes the data folder with a policy, and the things with their certificates.
func (m *mqttBench) register(ctx context.Context) (err error) {
	begun := time.Now()
	m.server, err = process.Start(ctx, filepath.Join(m.dir, "data"), "--mqtt-listen", "127.0.0.1:0", "--mqtt-connect-rate", "0", "--tls-cert", m.serverCert, "--tls-key", m.serverKey)
	if err != nil {
		return err
	}
	api := iot.NewFromConfig(config(m.server))
	name := aws.String("bench")
	if _, err := api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(devicePolicy)}); err != nil {
		return err
	}
	m.registered = make([][]byte, m.things)
	err = each(ctx, m.things, 32, func(ctx context.Context, i int) error {
		thing := aws.String(thingName(i))
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: *thing}}, m.keys[i])
		if err != nil {
			return err
		}
		csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		c, err := api.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr, SetAsActive: true})
		if err != nil {
			return err
		}
		block, _ := pem.Decode([]byte(*c.CertificatePem))
		m.registered[i] = block.Bytes
		if _, err := api.CreateThing(ctx, &iot.CreateThingInput{ThingName: thing}); err != nil {
			return err
		}
		return errors.Join(
			second(api.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: thing, Principal: c.CertificateArn})),
			second(api.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: name, Target: c.CertificateArn})),
		)
	})
	fmt.Printf("\n%d things registered in %.1f s\n", m.things, time.Since(begun).Seconds())
	return errors.Join(err, second(m.server.Stop()))
}

func (m *mqttBench) enrolled(i int) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{m.registered[i]}, PrivateKey: m.keys[i]}
}

func (m *mqttBench) own(i int) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{m.issued[i]}, PrivateKey: m.keys[i]}
}

// issue makes a CA and a key and a certificate of it for each thing: what
// mosquitto trusts. Sekisho issues its own for the same keys.
func (m *mqttBench) issue() error {
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench devices"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return err
	}
	m.deviceCA = filepath.Join(m.dir, "devices.pem")
	if err := os.WriteFile(m.deviceCA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	for i := range m.things {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: thingName(i)}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		cert, err := x509.CreateCertificate(rand.Reader, leaf, ca, k.Public(), key)
		if err != nil {
			return err
		}
		m.keys, m.issued = append(m.keys, k), append(m.issued, cert)
	}
	return nil
}

// memory is what a process holds, in bytes.
type memory struct{ rss, pss, private int64 }

func memoryOf(pid int) (m memory, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) != 3 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "Rss:":
			m.rss = kb << 10
		case "Pss:":
			m.pss = kb << 10
		case "Private_Clean:", "Private_Dirty:":
			m.private += kb << 10
		}
	}
	return m, nil
}
