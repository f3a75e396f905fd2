package telemetry

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSecretsAreNotWritten(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		var b bytes.Buffer
		log := slog.New(NewHandler(&b, format))
		log.Info("m", "session_token", "hunter2", slog.Group("g", slog.String("secret_access_key", "hunter2")), "access_key_id", "AKIA1")
		if out := b.String(); strings.Contains(out, "hunter2") || !strings.Contains(out, "AKIA1") {
			t.Errorf("%s: %s", format, out)
		}
	}
}

func TestMetricsAreExposed(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3")
	m.Observe("s3", "PutObject", 200, time.Millisecond)
	m.Deny("s3", "s3:PutObject")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	for _, want := range []string{
		`sekisho_api_request_duration_seconds_count{operation="PutObject",service="s3",status="200"} 1`,
		`sekisho_denials_total{action="s3:PutObject",service="s3"} 1`,
		`sekisho_build_info{version="1.2.3"} 1`,
		"process_resident_memory_bytes", "go_goroutines",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}
