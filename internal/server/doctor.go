package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// Verdict is what a check found.
type Verdict string

// The verdicts.
const (
	VerdictOK   Verdict = "ok"
	VerdictWarn Verdict = "warn"
	VerdictFail Verdict = "fail"
)

// Finding is what one check found, and what to do about it.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	Fix     string  `json:"fix,omitempty"`
}

const (
	doctorPatience = 3 * time.Second // for one name or one port
	nearEnd        = 14 * 24 * time.Hour
	integrityLimit = time.Minute
	clockSlack     = 2 * time.Minute
)

// doctor looks at the settings of a server, the folder and the machine.
type doctor struct {
	o        *Options
	roots    *x509.CertPool
	running  *Endpoints // of the server that runs on the folder; nil for none
	findings []Finding
}

// Diagnose looks for what keeps, or will keep, a server with these settings
// from working. It changes nothing.
func Diagnose(ctx context.Context, o *Options) []Finding {
	d := &doctor{o: o, roots: x509.NewCertPool()}
	d.settings()
	d.folder()
	if e, err := ReadEndpoints(o.Data); err == nil && accepts(ctx, e) == nil {
		d.running = &e
	}
	d.disk()
	d.clock()
	d.certificates()
	d.names(ctx)
	if d.running != nil {
		d.answers(ctx)
	} else {
		d.ports(ctx)
	}
	d.database(ctx)
	return d.findings
}

func (d *doctor) say(check string, v Verdict, fix, format string, args ...any) {
	d.findings = append(d.findings, Finding{Check: check, Verdict: v, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (d *doctor) settings() {
	if err := d.o.Validate(); err != nil {
		d.say("settings", VerdictFail, "change the flag, the variable or the line of --config that sets it", "%v", err)
		return
	}
	d.say("settings", VerdictOK, "", "a server can start with them")
}

// folder looks at who may read the data folder and the keys in it.
func (d *doctor) folder() {
	const check = "data folder"
	dir := d.o.Data
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		d.say(check, VerdictWarn, "the first `sekisho serve` makes it; if there was one, look at --data", "%s is not there", dir)
		return
	}
	if err != nil || !st.IsDir() {
		d.say(check, VerdictFail, "name the folder with --data", "%s cannot be used: %v", dir, errors.Join(err))
		return
	}
	if _, err := os.Stat(filepath.Join(dir, adminFile)); errors.Is(err, fs.ErrNotExist) {
		d.say(check, VerdictWarn, "the first `sekisho serve` fills it; if there was one, look at --data", "%s holds no server's data yet", dir)
		return
	}
	if err := checkWhole(d.o); err != nil {
		d.say(check, VerdictFail, "restore a backup to another folder, or put back what is missing", "%v", err)
		return
	}
	good := true
	for _, name := range []string{".", databaseFile, keyRingFile, adminFile, queueDir, objectsDir, pkiDir, pkiDir + "/root-ca.key", pkiDir + "/server.key"} {
		good = d.permissions(filepath.Join(dir, name)) && good
	}
	if good {
		d.say(check, VerdictOK, "", "%s is closed to others, and all that it needs is there", dir)
	}
}

func (d *doctor) permissions(path string) bool {
	const check = "data folder"
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true // made at the next start, or missed by checkWhole
	}
	if err != nil {
		d.say(check, VerdictFail, "run this as the user that the server runs as", "%v", err)
		return false
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		d.say(check, VerdictFail, fmt.Sprintf("chmod go= %s, and think of the keys as read if somebody else has a login here", path),
			"%s is open to other users (mode %04o)", path, mode)
		return false
	}
	if owner, ok := st.Sys().(*syscall.Stat_t); ok && int64(owner.Uid) != int64(os.Geteuid()) {
		d.say(check, VerdictWarn, "run this as the user that the server runs as; if that is you, chown the folder",
			"%s belongs to user %d, this is user %d", path, owner.Uid, os.Geteuid())
		return false
	}
	return true
}

func (d *doctor) disk() {
	const check = "disk"
	dir := d.o.Data
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(filepath.Clean(dir))
	}
	s, err := spaceOf(dir)
	if err != nil {
		d.say(check, VerdictFail, "", "%v", err)
		return
	}
	r, err := parseReserve(d.o.DiskReserve)
	if err != nil {
		return // the settings say so
	}
	reserved := r.of(s.total)
	const fix = "delete what is not needed, give the folder a larger disk, or set --disk-reserve"
	switch {
	case s.free < reserved:
		d.say(check, VerdictFail, fix, "%s free, less than the reserve of %s: what adds something is refused", size(s.free), size(reserved))
	case s.free < 4*reserved:
		d.say(check, VerdictWarn, fix, "%s free; below %s what adds something is refused", size(s.free), size(reserved))
	default:
		d.say(check, VerdictOK, "", "%s of %s free", size(s.free), size(s.total))
	}
}

func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// clock looks for a clock that is behind what was written, and asks the system
// whether somebody keeps it right.
func (d *doctor) clock() {
	const check, fix = "clock", "set the clock and run an NTP client (chrony, systemd-timesyncd): signatures and certificates are refused by a wrong one"
	now := d.o.Now()
	for _, name := range []string{databaseFile, databaseFile + "-wal", keyRingFile, EndpointsFile} {
		if st, err := os.Stat(filepath.Join(d.o.Data, name)); err == nil && st.ModTime().After(now.Add(clockSlack)) {
			d.say(check, VerdictFail, fix, "it shows %s, and %s was written at %s", now.UTC().Format(time.RFC3339), name, st.ModTime().UTC().Format(time.RFC3339))
			return
		}
	}
	if hardware, ok := hardwareClock(); ok && (hardware.Sub(now) > clockSlack || now.Sub(hardware) > clockSlack) {
		d.say(check, VerdictWarn, fix, "it shows %s, the hardware clock %s", now.UTC().Format(time.RFC3339), hardware.UTC().Format(time.RFC3339))
		return
	}
	switch synchronized, known := clockSynchronized(); {
	case !known:
		d.say(check, VerdictWarn, fix, "it shows %s; whether it is kept right is not known here", now.UTC().Format(time.RFC3339))
	case !synchronized:
		d.say(check, VerdictWarn, fix, "it shows %s, and nothing keeps it right", now.UTC().Format(time.RFC3339))
	default:
		d.say(check, VerdictOK, "", "synchronised")
	}
}

// certificates looks at the dates and names of what clients are shown.
func (d *doctor) certificates() {
	cert, key, own := d.o.TLSCert, d.o.TLSKey, false
	if cert == "" {
		dir := filepath.Join(d.o.Data, pkiDir)
		cert, key, own = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"), true
		d.dates("root CA", filepath.Join(d.o.Data, RootCAFile), "its end is the end of every device's trust: plan for another root before it")
		d.dates("device CA", filepath.Join(dir, "devices-ca.pem"), "")
		d.dates("server CA", filepath.Join(dir, "servers-ca.pem"), "")
	}
	if b, err := os.ReadFile(filepath.Join(d.o.Data, RootCAFile)); err == nil {
		d.roots.AppendCertsFromPEM(b)
	}
	if _, err := os.Stat(cert); own && errors.Is(err, fs.ErrNotExist) {
		return // made at the first start
	}
	const check = "certificate"
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		d.say(check, VerdictFail, "give a certificate and its key, PEM, that fit together", "%v", err)
		return
	}
	var missing []string
	for _, h := range d.o.PublicHosts {
		if pair.Leaf.VerifyHostname(h) != nil {
			missing = append(missing, h)
		}
	}
	switch {
	case len(missing) > 0 && own:
		d.say(check, VerdictWarn, "restart the server: it makes a certificate that names them", "it does not name %s yet", strings.Join(missing, ", "))
	case len(missing) > 0:
		d.say(check, VerdictFail, "have a certificate issued that names every --public-host", "%s does not name %s", cert, strings.Join(missing, ", "))
	}
	fix := "renew it; the server reads the files again when they change"
	if own {
		fix = "the server renews it by itself while it runs: start it, or look at its log"
	}
	d.dates(check, cert, fix)
}

// dates looks at the first certificate of a file.
func (d *doctor) dates(check, path, fix string) {
	b, err := os.ReadFile(path) //nolint:gosec // what the operator named, or in the data folder
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var c *x509.Certificate
	if block, _ := pem.Decode(b); err == nil && block != nil {
		c, err = x509.ParseCertificate(block.Bytes)
	}
	now := d.o.Now()
	switch {
	case err != nil || c == nil:
		d.say(check, VerdictFail, "put the file back, from a backup for one", "%s cannot be read: %v", path, err)
	case now.After(c.NotAfter):
		d.say(check, VerdictFail, fix, "it ended %s", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		d.say(check, VerdictFail, "look at the clock", "it begins %s only", c.NotBefore.UTC().Format(time.RFC3339))
	case c.NotAfter.Sub(now) < nearEnd:
		d.say(check, VerdictWarn, fix, "it ends %s", c.NotAfter.UTC().Format(time.RFC3339))
	default:
		d.say(check, VerdictOK, "", "good until %s", c.NotAfter.UTC().Format(time.DateOnly))
	}
}

// names looks up the names that devices and tools are sent to.
func (d *doctor) names(ctx context.Context) {
	const check = "name"
	for _, h := range d.o.PublicHosts {
		if net.ParseIP(h) != nil || h == DefaultHost {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, doctorPatience)
		addrs, err := net.DefaultResolver.LookupHost(ctx, h)
		cancel()
		if err != nil {
			d.say(check, VerdictFail, "add it to the DNS that devices ask, or change --public-host", "%s does not resolve here: %v", h, err)
			continue
		}
		d.say(check, VerdictOK, "", "%s is %s", h, strings.Join(addrs, ", "))
	}
}

// ports tries to listen where a server would.
func (d *doctor) ports(ctx context.Context) {
	const check = "port"
	d.say("server", VerdictWarn, "start it: sekisho serve --data "+d.o.Data, "no server runs on %s", d.o.Data)
	for _, p := range [][2]string{{"--api-listen", d.o.APIListen}, {"--mqtt-listen", d.o.MQTTListen}, {"--device-https-listen", d.o.DeviceHTTPSListen}} {
		flag, addr := p[0], p[1]
		if addr == "" {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			d.say(check, VerdictFail, "end what listens there (`ss -ltnp` names it), or set "+flag, "%s %s is taken by another process", flag, addr)
		case errors.Is(err, syscall.EACCES):
			d.say(check, VerdictFail, "run it with CAP_NET_BIND_SERVICE, as packaging/systemd does", "%s %s: ports below 1024 are not open to this user", flag, addr)
		case err != nil:
			d.say(check, VerdictFail, "set "+flag+" to an address of this machine", "%s %s: %v", flag, addr, err)
		default:
			_ = l.Close() // nobody has come
			d.say(check, VerdictOK, "", "%s %s is free", flag, addr)
		}
	}
}

// answers asks the running server.
func (d *doctor) answers(ctx context.Context) {
	const check = "server"
	for _, p := range [][2]string{{"MQTT", d.running.MQTT}, {"devices' HTTPS", d.running.DeviceHTTPS}} {
		name, addr := p[0], p[1]
		if addr == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, doctorPatience)
		conn, err := (&tls.Dialer{Config: d.trust()}).DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			d.say(check, VerdictFail, "look at the server's log", "%s on %s: %v", name, addr, err)
			continue
		}
		_ = conn.Close() // nothing was sent
		d.say(check, VerdictOK, "", "%s answers on %s", name, addr)
	}
	if d.running.API == "" {
		return
	}
	said, err := d.ready(ctx)
	switch {
	case err != nil:
		d.say(check, VerdictFail, "look at the server's log", "the API on %s: %v", d.running.API, err)
	case strings.Contains(said, "nearly full"):
		d.say(check, VerdictWarn, "see the disk", "the API answers on %s: %s", d.running.API, strings.TrimSpace(said))
	default:
		d.say(check, VerdictOK, "", "the API answers on %s", d.running.API)
	}
}

// trust is how a device on this machine would look at the server.
func (d *doctor) trust() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.o.PublicHosts[0], RootCAs: d.roots, Time: d.o.Now}
	if d.o.TLSCert != "" {
		c.RootCAs = nil // somebody else's CA, which the system knows
	}
	return c
}

func (d *doctor) ready(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+d.running.API+"/_sekisho/readyz", http.NoBody)
	if err != nil {
		return "", err
	}
	tr := &http.Transport{TLSClientConfig: d.trust()}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(b), err
}

// database reads all of it.
func (d *doctor) database(ctx context.Context) {
	const check = "database"
	if d.o.Database != "" {
		if d.running == nil { // else readyz has asked it
			d.say(check, VerdictWarn, "start the server: it says at once when it cannot use it", "%s is not looked at", redactURL(d.o.Database))
		}
		return
	}
	path := filepath.Join(d.o.Data, databaseFile)
	st, err := os.Stat(path)
	if err != nil {
		return
	}
	if owner, ok := st.Sys().(*syscall.Stat_t); ok && int64(owner.Uid) != int64(os.Geteuid()) {
		d.say(check, VerdictWarn, "run this as the user that the server runs as", "not looked at: the files that SQLite makes beside it would be this user's")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, integrityLimit)
	defer cancel()
	err = sqlstore.CheckFile(ctx, path)
	switch {
	case err != nil && ctx.Err() != nil:
		d.say(check, VerdictWarn, "", "%s is too large to be looked through in %s", path, integrityLimit)
	case err != nil:
		d.say(check, VerdictFail, "stop the server, keep the folder, and restore the last backup to another one", "%v", err)
	default:
		d.say(check, VerdictOK, "", "sound")
	}
}
