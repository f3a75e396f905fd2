// Package telemetry is what an operator watches: the log handler, the metrics and the traces.
//
// Invariant: an attribute whose name says that it is a secret is never written.
package telemetry

import (
	"io"
	"log/slog"
	"strings"
)

// NewHandler returns the handler of the server's log; format is "text" or "json".
func NewHandler(w io.Writer, format string) slog.Handler {
	o := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: redact}
	if format == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// redact is the second lock: nobody is to log these, and if somebody does, it does not get out.
func redact(_ []string, a slog.Attr) slog.Attr {
	k := strings.ToLower(a.Key)
	for _, word := range []string{"secret", "token", "password", "passphrase", "private_key", "authorization", "signature"} {
		if strings.Contains(k, word) {
			return slog.String(a.Key, "[redacted]")
		}
	}
	return a
}
