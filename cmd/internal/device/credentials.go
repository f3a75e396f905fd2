package device

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/agent/clock"
	"github.com/sekisho-iot/sekisho/internal/agent/config"
	"github.com/sekisho-iot/sekisho/internal/agent/credential"
)

// How long a caller waits for the server where an older session would still do.
// The SDKs give a container credentials endpoint two seconds, and a
// credential_process a minute.
const (
	processPatience = 5 * time.Second
	servePatience   = 1500 * time.Millisecond
)

// clockWarning is how far the clock may be off before requests signed by it are refused.
const clockWarning = 5 * time.Minute

//nolint:gosec // the word, not the thing
const credentialsHelp = `Prints this device's S3 credentials as JSON, for credential_process in ~/.aws/config:

    credential_process = sekisho device credentials --config /etc/sekisho/device.json

They are kept on disk, so that the server is asked once for all programs; renewed
in time, by one process at a time; and given out while the server does not answer,
as long as they last.

With --serve it goes on running, and AWS SDKs fetch their credentials from it by
themselves: run it as a service, and give programs the two variables that it prints.

Exit codes: 0 done, 1 no credentials (standard error says why, and what to do), 2 usage.`

type credentialsFlags struct {
	config, cache     string
	serve             bool
	listen, tokenFile string
}

func credentials(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "credentials", "", credentialsHelp)
	var f credentialsFlags
	fs.StringVar(&f.config, "config", "device.json", "`file` that enroll left: who the device is and where its server is")
	fs.StringVar(&f.cache, "cache", "", "`folder` to keep credentials in, mode 0700; $CACHE_DIRECTORY/credentials,\n        $XDG_CACHE_HOME/sekisho, ~/.cache/sekisho or, for root, /var/cache/sekisho unless given")
	fs.BoolVar(&f.serve, "serve", false, "be the container credentials endpoint of this machine's AWS SDKs")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:9912", "loopback `address` to serve at; port 0 picks a free one")
	fs.StringVar(&f.tokenFile, "token-file", "", "`file` to write the token to that callers must know, mode 0600, anew at every start;\n        in the cache folder unless given")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	if f.config == "" {
		return cli.Usagef("--config is needed: the device.json that enroll left")
	}
	if f.serve {
		if err := checkLoopback(f.listen); err != nil {
			return err
		}
	}
	if f.cache == "" {
		var err error
		if f.cache, err = cacheFolder(t); err != nil {
			return err
		}
	}
	level := slog.LevelWarn
	if f.serve {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(t.Stderr, &slog.HandlerOptions{Level: level}))
	return f.run(ctx, t, log)
}

func (f *credentialsFlags) run(ctx context.Context, t *cli.Terminal, log *slog.Logger) error {
	c, err := config.Load(f.config)
	if err != nil {
		return err
	}
	k := clock.New(time.Now)
	e, err := credential.NewEndpoint(c, k, nil)
	if err != nil {
		return err
	}
	defer e.Close()
	cache, err := credential.OpenCache(f.cache, e.ID())
	if err != nil {
		return err
	}
	o := credential.Options{Endpoint: e, Cache: cache, Clock: k, Logger: log, Patience: processPatience}
	if f.serve {
		o.Patience, o.Ahead = servePatience, true
	}
	p := credential.NewProvider(o)
	defer p.Close()
	if f.serve {
		return f.serveUntil(ctx, t, log, p)
	}
	s, err := p.Get(ctx)
	if err != nil {
		return err
	}
	if s.Offset().Abs() >= clockWarning {
		fmt.Fprintf(t.Stderr, "this device's clock is off by %s, so requests that are signed with it will be refused: set it\n", s.Offset().Round(time.Second))
	}
	b, err := s.ProcessJSON()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.Stdout, "%s\n", b)
	return err
}

// checkLoopback refuses an address that other machines could reach.
func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return cli.Usagef("--listen %q: HOST:PORT is needed", address)
	}
	ip, err := netip.ParseAddr(host)
	if host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return cli.Usagef("--listen %q: credentials are served on this machine alone: 127.0.0.1, [::1] or localhost", address)
	}
	return nil
}

// serveUntil serves until ctx ends.
func (f *credentialsFlags) serveUntil(ctx context.Context, t *cli.Terminal, log *slog.Logger, p *credential.Provider) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer l.Close() //nolint:errcheck // Shutdown has closed it
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok || !address.IP.IsLoopback() {
		return fmt.Errorf("--listen %s is %s here, which other machines reach: name 127.0.0.1", f.listen, l.Addr())
	}
	if f.tokenFile == "" {
		f.tokenFile = filepath.Join(f.cache, fmt.Sprintf("token-%d", address.Port))
	}
	if f.tokenFile, err = filepath.Abs(f.tokenFile); err != nil {
		return err
	}
	token, err := credential.TokenFile(f.tokenFile, rand.Reader)
	if err != nil {
		return err
	}
	defer removeToken(ctx, log, f.tokenFile)
	server := &http.Server{
		Handler: credential.NewHandler(p, token), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 90 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	fmt.Fprintf(t.Stdout, "export AWS_CONTAINER_CREDENTIALS_FULL_URI=\"http://%s%s\"\nexport AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=\"%s\"\n",
		address, credential.Path, cli.ShellQuote(f.tokenFile))
	log.InfoContext(ctx, "ready", slog.String("address", address.String()))
	select {
	case err = <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	p.Close() // those who wait for a renewal wait no longer
	if err := server.Shutdown(last); err != nil {
		err = errors.Join(err, server.Close())
		log.WarnContext(last, "requests were cut off", slog.Any("error", err))
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func removeToken(ctx context.Context, log *slog.Logger, path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.WarnContext(ctx, "the token file was left", slog.Any("error", err))
	}
}
