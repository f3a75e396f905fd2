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
	"time"

	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

// Limits of every HTTP listener. A request's body has no deadline of its own,
// since an upload may take hours; its progress has one, see the api room.
const (
	headerTimeout   = 10 * time.Second
	idleTimeout     = 3 * time.Minute
	maxHeader       = 32 << 10
	shutdownTimeout = 8 * time.Second
)

func newHTTPServer(h http.Handler, conf *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         conf,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// Handshakes that strangers break off are no news.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
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

// fronts are the servers that listen. Its methods are called one after the other.
type fronts struct {
	servers []*http.Server
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

// stop drains all of them at the same time: the limit is one for the process.
func (f *fronts) stop(ctx context.Context) error {
	errs := make([]error, len(f.servers))
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
		answerJSON(w, http.StatusOK, map[string]string{"status": "ready"})
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
