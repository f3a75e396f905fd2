// Package process starts, watches and ends bin/sekisho from outside, for the
// end-to-end tests and the benchmarks. It knows only what a user knows: flags,
// `sekisho env`, endpoints.json, signals and /proc.
package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is one running `sekisho serve`.
type Server struct {
	Dir string            // the data folder
	Env map[string]string // what `sekisho env` printed
	Log string            // the file that holds standard output and error

	bin  string
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // of Wait, once done is closed
}

// Binary returns the path of bin/sekisho in the repository that the caller's
// working directory belongs to.
func Binary() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find bin/sekisho: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find bin/sekisho: not inside the repository")
		}
		dir = parent
	}
	bin := filepath.Join(dir, "bin", "sekisho")
	if _, err := os.Stat(bin); err != nil {
		return "", fmt.Errorf("%w (run make build)", err)
	}
	return bin, nil
}

// CleanEnv is this process's environment without what would steer Sekisho or an
// AWS client.
func CleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(kv, "SEKISHO_") {
			env = append(env, kv)
		}
	}
	return env
}

// Args are the arguments of `sekisho serve` on free loopback ports, with extra
// ones behind them.
func Args(dir string, extra ...string) []string {
	return append([]string{
		"serve", "--data", dir,
		"--api-listen", "127.0.0.1:0", "--device-https-listen", "127.0.0.1:0",
		"--mqtt-listen", "127.0.0.1:0", "--console-listen", "",
	}, extra...)
}

// Start runs the server on dir and returns when it is ready. Where
// SEKISHO_TEST_POSTGRES is set its database is there.
func Start(ctx context.Context, dir string, extra ...string) (*Server, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	database, err := databaseOf(ctx, dir)
	if err != nil {
		return nil, err
	}
	if database != "" && !slices.Contains(extra, "--database") {
		extra = append([]string{"--database", database}, extra...)
	}
	s := &Server{Dir: dir, Log: filepath.Clean(dir) + ".log", bin: bin, args: Args(dir, extra...)}
	return s, s.Restart(ctx)
}

// Restart runs the server again, with the same arguments, after Stop or Kill.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Launch(); err != nil {
		return err
	}
	env, err := s.readEnv(ctx)
	if err != nil {
		return errors.Join(err, s.Kill(), fmt.Errorf("log:\n%s", s.Tail(40)))
	}
	s.Env = env
	return nil
}

// Launch starts the process and does not wait for it to be ready.
func (s *Server) Launch() error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()                      //nolint:errcheck // the child holds its own copy
	s.cmd = exec.Command(s.bin, s.args...) //nolint:gosec,noctx // our own binary, ended by Stop or Kill
	s.cmd.Env = CleanEnv()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	s.done = make(chan struct{})
	go func() {
		// The parent-death signal is tied to the thread that forks.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
		}
		close(s.done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", s.bin, err)
	}
	return nil
}

func (s *Server) readEnv(ctx context.Context) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, s.bin, "env", "--data", s.Dir) //nolint:gosec // our own binary
	cmd.Env = CleanEnv()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("sekisho env: %w: %s", err, stderr.String())
	}
	return ParseEnv(string(out))
}

// ParseEnv reads the lines that `sekisho env` prints.
func ParseEnv(out string) (map[string]string, error) {
	line := regexp.MustCompile(`^export ([A-Z_]+)="([^"$` + "`" + `\\]*)"$`)
	env := map[string]string{}
	sc := bufio.NewScanner(strings.NewReader(out))
	for sc.Scan() {
		m := line.FindStringSubmatch(sc.Text())
		if m == nil {
			return nil, fmt.Errorf("sekisho env: unexpected line %q", sc.Text())
		}
		env[m[1]] = m[2]
	}
	return env, sc.Err()
}

// Endpoints reads endpoints.json.
func (s *Server) Endpoints() (map[string]string, error) {
	b, err := os.ReadFile(filepath.Join(s.Dir, "endpoints.json"))
	if err != nil {
		return nil, fmt.Errorf("read endpoints.json: %w", err)
	}
	m := map[string]string{}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read endpoints.json: %w", err)
	}
	return m, nil
}

// AwaitReady waits until endpoints.json of a launched server is there.
func (s *Server) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		_, err := os.Stat(filepath.Join(s.Dir, "endpoints.json"))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("await ready: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("await ready: %w", ctx.Err())
		case <-s.done:
			return fmt.Errorf("await ready: the server ended: %w", s.err)
		case <-tick.C:
		}
	}
}

// Stop sends SIGTERM and returns the exit code; after 15 s it kills and fails.
func (s *Server) Stop() (int, error) {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("send SIGTERM: %w", err)
	}
	return s.Wait(15 * time.Second)
}

// Kill sends SIGKILL and returns when the process is gone.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill: %w", err)
	}
	<-s.done
	return nil
}

// Wait returns the exit code of a server that ends by itself within d.
func (s *Server) Wait(d time.Duration) (int, error) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.done:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-t.C:
		return 0, errors.Join(fmt.Errorf("still running after %s", d), s.Kill())
	}
}

// Running reports whether the process is alive.
func (s *Server) Running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// Args are the arguments that the server was started with.
func (s *Server) Args() []string { return slices.Clone(s.args) }

// PID is the process id of the server that runs, or ran last.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Tail returns the last n lines of the log.
func (s *Server) Tail(n int) string {
	b, err := os.ReadFile(s.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// RSS returns the resident memory of process pid in bytes.
func RSS(pid int) (int64, error) { return memory(pid, "VmRSS:") }

// Anonymous returns the resident memory of process pid without the pages of
// files that it has mapped.
func Anonymous(pid int) (int64, error) { return memory(pid, "RssAnon:") }

func memory(pid int, name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read rss: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("read rss: no line %s", name)
}

// CPU returns the processor time that process pid has used.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read cpu time: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, errors.New("read cpu time: short stat line")
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	const tick = time.Second / 100 // USER_HZ is 100 on every Linux that Go runs on
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}
