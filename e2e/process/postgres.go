package process

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a running PostgreSQL server of our own, in a folder of its own.
type Postgres struct {
	URL string // of its superuser, with the password
	CA  string // the file with the certificate that it presents by TLS

	dir  string
	cred *syscall.Credential
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// StartPostgres makes a database cluster in a temporary folder and serves it on
// a loopback port until Close. It is durable, and sorts text by a language's
// rules unless told otherwise, as an operator's would.
func StartPostgres(ctx context.Context) (*Postgres, error) {
	dir, err := os.MkdirTemp("", "sekisho-postgres-")
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	p := &Postgres{dir: dir}
	if err := p.init(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := p.Start(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close ends the server and removes its folder.
func (p *Postgres) Close() error {
	return errors.Join(p.Stop(), os.RemoveAll(p.dir))
}

func (p *Postgres) init(ctx context.Context) error {
	bin, err := postgresBin()
	if err != nil {
		return err
	}
	dir := p.dir
	if err := p.own(); err != nil {
		return err
	}
	const password = "only-for-tests"
	secret := filepath.Join(dir, "password")
	args := []string{
		"-D", filepath.Join(dir, "cluster"), "-U", "sekisho", "-E", "UTF8", "--auth=scram-sha-256", "--pwfile=" + secret, "--no-sync",
		"--locale=C.UTF-8",
	}
	if help, err := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--help").Output(); err == nil && bytes.Contains(help, []byte("--icu-locale")) { //nolint:gosec // as installed
		args = append(args, "--locale-provider=icu", "--icu-locale=en-US")
	}
	if err := p.write(secret, password); err != nil {
		return err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), args...) //nolint:gosec // as installed
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: p.cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.CA = filepath.Join(dir, "server.crt")
	key := filepath.Join(dir, "server.key")
	certPEM, keyPEM, err := selfSigned()
	if err != nil {
		return err
	}
	if err := errors.Join(p.write(p.CA, certPEM), p.write(key, keyPEM)); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	p.URL = fmt.Sprintf("postgres://sekisho:%s@127.0.0.1:%d/postgres?sslmode=disable", password, port)
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "cluster"), "-h", "127.0.0.1", "-p", strconv.Itoa(port), //nolint:gosec,noctx // ended by Stop
		"-c", "unix_socket_directories=", "-c", "ssl=on", "-c", "ssl_cert_file="+p.CA, "-c", "ssl_key_file="+key, "-c", "max_connections=600", "-c", "shared_buffers=64MB")
	return nil
}

// own gives the folder to the user that the server will run as: not root, whom it refuses.
func (p *Postgres) own() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("postgres: it does not run as root: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	p.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(p.dir, int(uid), int(gid))
}

func (p *Postgres) write(name, text string) error {
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if p.cred == nil {
		return nil
	}
	return os.Chown(name, int(p.cred.Uid), int(p.cred.Gid))
}

// Start runs the server again, on the same port, after Stop.
func (p *Postgres) Start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer log.Close()                                  //nolint:errcheck // the child holds its own copy
	cmd := exec.Command(p.cmd.Path, p.cmd.Args[1:]...) //nolint:gosec,noctx // as before
	p.cmd = cmd
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Pdeathsig: syscall.SIGQUIT}
	done, started := make(chan struct{}), make(chan error)
	p.done = done
	go func() {
		// The parent-death signal is tied to the thread that forks.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return p.awaitReady(ctx)
}

func (p *Postgres) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, p.URL)
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("postgres: %w", err), p.Stop())
		case <-p.done:
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			return fmt.Errorf("postgres ended:\n%s", log)
		case <-tick.C:
		}
	}
}

// Stop ends the server without waiting for its clients, and returns when it is gone.
func (p *Postgres) Stop() error { return p.end(syscall.SIGINT) }

// Crash ends the server as a power cut of its machine would: what it has not
// made durable is for it to recover.
func (p *Postgres) Crash() error { return p.end(syscall.SIGQUIT) }

func (p *Postgres) end(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("postgres: %w", err)
	}
	<-p.done
	return nil
}

// databaseOf is the URL of a data folder's own database, always the same: a
// schema on the server that SEKISHO_TEST_POSTGRES names; "" without one.
func databaseOf(ctx context.Context, dir string) (string, error) {
	url := os.Getenv("SEKISHO_TEST_POSTGRES")
	if url == "" {
		return "", nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	return PostgresSchema(ctx, url, fmt.Sprintf("s%x", sha256.Sum256([]byte(abs)))[:20])
}

// PostgresSchema makes the schema name in the database of url, unless it is
// there, and returns the URL of it.
func PostgresSchema(ctx context.Context, url, name string) (string, error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	_, err = c.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{name}.Sanitize())
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		return "", fmt.Errorf("postgres: %w", err)
	}
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	return url + separator + "search_path=" + name, nil
}

// selfSigned makes a certificate for 127.0.0.1 and its key.
func selfSigned() (certPEM, keyPEM string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("postgres: %w", err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err1 := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		return "", "", fmt.Errorf("postgres: %w", err)
	}
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return encode("CERTIFICATE", cert), encode("PRIVATE KEY", der), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		return 0, fmt.Errorf("postgres: %w", err)
	}
	defer l.Close()                          //nolint:errcheck // nobody has connected
	return l.Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert // of a TCP listener
}

// postgresBin is the folder of the newest server that is installed: Debian
// keeps them out of PATH, one folder a version.
func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", fmt.Errorf("%w (e2e/install.sh installs it)", err)
	}
	path, err = filepath.EvalSymlinks(path)
	return filepath.Dir(path), err
}
