package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

// Limits of every HTTP listener. On the API port a body has no deadline as a
// whole, since an upload may take days; its progress has one, see steadily.
const (
	headerTimeout   = 10 * time.Second
	idleTimeout     = 3 * time.Minute
	maxHeader       = 32 << 10
	shutdownTimeout = 8 * time.Second

	deviceTimeout = time.Minute // for a whole request or answer of the device port
	maxConns      = 10_000      // of one HTTP server
	minConns      = 64          // likewise, however few descriptors there are
	keptFiles     = 256         // descriptors that connections leave to everything else

	maxDescriptors = 8 << 20 // what no limit at all means
)

// connLimit is how many connections each of the two HTTP servers may have: an
// eighth of the descriptors that there are. Another is for files, the rest for
// MQTT, whose connections stay. Package os has raised the soft limit to the hard one.
func connLimit() int64 { return connLimitOf(descriptors()) }

func connLimitOf(files int64) int64 {
	if files > 8*maxConns+keptFiles {
		return maxConns
	}
	return max(minConns, (files-keptFiles)/8)
}

// mqttConnLimit is how many MQTT connections there may be: what HTTP and files leave.
func mqttConnLimit(files int64) int64 {
	return max(minConns, files-keptFiles-3*connLimitOf(files))
}

// descriptors is how many the process may have.
func descriptors() int64 {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > maxDescriptors {
		return maxDescriptors
	}
	return int64(files.Cur)
}

// processorTime is what the process has used of it; 0 where the system does not say.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func newHTTPServer(h http.Handler, conf *tls.Config, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         conf,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// Handshakes that strangers break off are no news.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.ConnState = newCrowd(connLimit()).connState
	return s
}

// stopHTTP drains, and cuts what does not end in time.
func stopHTTP(ctx context.Context, s *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return s.Close()
	}
	return nil
}

// serveHTTP serves until the server is stopped.
func serveHTTP(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// fronts are what listens. Its methods are called one after the other.
type fronts struct {
	servers []*http.Server
	doors   []*door
	wg      sync.WaitGroup
}

// run serves l in the background until stop.
func (f *fronts) run(h *http.Server, l net.Listener, failed chan<- error) {
	f.servers = append(f.servers, h)
	f.wg.Go(func() {
		if err := serveHTTP(h, l); err != nil {
			failed <- err
		}
	})
}

// open has a door accept until stop.
func (f *fronts) open(d *door, failed chan<- error) {
	f.doors = append(f.doors, d)
	d.start(failed)
}

// stop drains all of them at the same time: the limit is one for the process.
// The doors come first, since they hand connections to a server.
func (f *fronts) stop(ctx context.Context) error {
	errs := make([]error, len(f.servers), len(f.servers)+len(f.doors))
	for _, d := range f.doors {
		errs = append(errs, d.close())
	}
	for i, h := range f.servers {
		f.wg.Go(func() { errs[i] = stopHTTP(ctx, h) })
	}
	f.wg.Wait()
	return errors.Join(errs...)
}

// ownHandler serves what is ours, and unsigned, below /_sekisho/.
type ownHandler struct {
	rootPEM []byte
	metrics *telemetry.Metrics
	ready   func(context.Context) error
	full    func() bool
}

func (o *ownHandler) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sekisho/healthz", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /_sekisho/readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := o.ready(r.Context()); err != nil {
			answerJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
			return
		}
		state := map[string]string{"status": "ready", "disk": "ok"}
		if o.full() { // whoever reads still has to be sent here
			state["disk"] = "nearly full: what adds something is refused"
		}
		answerJSON(w, http.StatusOK, state)
	})
	mux.Handle("GET /_sekisho/metrics", o.metrics.Handler())
	mux.HandleFunc("GET /_sekisho/root-ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(o.rootPEM)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Errortype", "NotFoundException")
		answerJSON(w, http.StatusNotFound, map[string]string{
			"message": "Nothing is here. There are healthz, readyz, metrics and root-ca.pem; the rest of /_sekisho/ needs a signature.",
		})
	})
	return mux
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}
