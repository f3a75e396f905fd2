package server

import (
	"crypto/rand"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patient is a folder that a server has made, whose server has stopped.
func patient(t *testing.T) *Options {
	t.Helper()
	o := DefaultOptions()
	o.Data = filepath.Join(t.TempDir(), "data")
	o.APIListen, o.MQTTListen, o.DeviceHTTPSListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	o.Now, o.Rand, o.Logger, o.Version = time.Now, rand.Reader, slog.New(slog.DiscardHandler), "test"
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return &o
}

// wantFinding fails unless the worst that the check found is the verdict, and
// says the text, with something to do about it.
func wantFinding(t *testing.T, list []Finding, check string, v Verdict, text string) {
	t.Helper()
	for _, f := range list {
		if f.Check != check || f.Verdict != v || !strings.Contains(f.Text, text) {
			continue
		}
		if v == VerdictFail && f.Fix == "" {
			t.Errorf("%+v does not say what to do", f)
		}
		return
	}
	t.Errorf("%s: no %s with %q in %+v", check, v, text, list)
}

func fails(list []Finding) (failed []Finding) {
	for _, f := range list {
		if f.Verdict == VerdictFail {
			failed = append(failed, f)
		}
	}
	return failed
}

func TestDoctorHealthy(t *testing.T) {
	t.Parallel()
	o := patient(t)
	list := Diagnose(t.Context(), o)
	if failed := fails(list); len(failed) > 0 {
		t.Errorf("failed: %+v", failed)
	}
	for _, check := range []string{"settings", "data folder", "root CA", "certificate", "port", "database"} {
		wantFinding(t, list, check, VerdictOK, "")
	}
	wantFinding(t, list, "server", VerdictWarn, "no server runs")
	s, err := New(t.Context(), *o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the end of the test
	if err := s.Start(t.Context(), make(chan error, 4)); err != nil {
		t.Fatal(err)
	}
	list = Diagnose(t.Context(), o)
	if failed := fails(list); len(failed) > 0 {
		t.Errorf("failed: %+v", failed)
	}
	wantFinding(t, list, "server", VerdictOK, "MQTT answers")
	wantFinding(t, list, "server", VerdictOK, "the API answers")
	wantFinding(t, list, "database", VerdictOK, "sound")
}

func TestDoctorFindings(t *testing.T) {
	t.Parallel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		harm    func(o *Options)
		check   string
		verdict Verdict
		text    string
	}{
		"settings":    {func(o *Options) { o.S3Durability = "maybe" }, "settings", VerdictFail, "--s3-durability"},
		"new":         {func(o *Options) { o.Data += "-new" }, "data folder", VerdictWarn, "is not there"},
		"key ring":    {func(o *Options) { must(os.Chmod(filepath.Join(o.Data, keyRingFile), 0o640)) }, "data folder", VerdictFail, "open to other users"},
		"CA key":      {func(o *Options) { must(os.Chmod(filepath.Join(o.Data, pkiDir, "root-ca.key"), 0o604)) }, "data folder", VerdictFail, "root-ca.key"},
		"lost":        {func(o *Options) { must(os.Remove(filepath.Join(o.Data, keyRingFile))) }, "data folder", VerdictFail, "keys.json is missing"},
		"restore":     {func(o *Options) { must(os.Mkdir(filepath.Join(o.Data, restoreDir), 0o700)) }, "data folder", VerdictFail, "restore"},
		"low disk":    {func(o *Options) { o.DiskReserve = "1024TiB" }, "disk", VerdictFail, "less than the reserve"},
		"clock":       {func(o *Options) { o.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, "clock", VerdictFail, "was written at"},
		"expired":     {func(o *Options) { o.Now = func() time.Time { return time.Now().AddDate(3, 0, 0) } }, "certificate", VerdictFail, "it ended"},
		"near expiry": {func(o *Options) { o.Now = func() time.Time { return time.Now().AddDate(0, 0, 390) } }, "certificate", VerdictWarn, "it ends"},
		"host":        {func(o *Options) { o.PublicHosts = []string{"sekisho.invalid"} }, "name", VerdictFail, "sekisho.invalid does not resolve"},
		"host, own":   {func(o *Options) { o.PublicHosts = []string{"sekisho.invalid"} }, "certificate", VerdictWarn, "does not name sekisho.invalid"},
		"foreign certificate": {func(o *Options) {
			o.TLSCert, o.TLSKey = filepath.Join(o.Data, pkiDir, "server.pem"), filepath.Join(o.Data, pkiDir, "server.key")
			o.PublicHosts = []string{"sekisho.invalid"}
		}, "certificate", VerdictFail, "does not name sekisho.invalid"},
		"key of another": {func(o *Options) {
			o.TLSCert, o.TLSKey = filepath.Join(o.Data, pkiDir, "server.pem"), filepath.Join(o.Data, pkiDir, "root-ca.key")
		}, "certificate", VerdictFail, "does not match"},
		"address": {func(o *Options) { o.APIListen = "192.0.2.1:4566"; o.PublicHosts = []string{"a.invalid"} }, "port", VerdictFail, "192.0.2.1"},
		"database": {func(o *Options) {
			b, err := os.ReadFile(filepath.Join(o.Data, databaseFile))
			must(err)
			for i := 4096; i < len(b); i += 64 {
				b[i] ^= 0xff
			}
			must(os.WriteFile(filepath.Join(o.Data, databaseFile), b, 0o600))
		}, "database", VerdictFail, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := patient(t)
			c.harm(o)
			wantFinding(t, Diagnose(t.Context(), o), c.check, c.verdict, c.text)
		})
	}
}

func TestDoctorPortTaken(t *testing.T) {
	t.Parallel()
	o := patient(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the end of the test
	o.MQTTListen = l.Addr().String()
	wantFinding(t, Diagnose(t.Context(), o), "port", VerdictFail, "taken by another process")
}
