package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// Options are the settings of a server; see the flags of `sekisho serve`.
type Options struct {
	Data               string            // the data folder
	Database           string            // "" is SQLite in the data folder
	APIListen          string            // AWS APIs and S3; "" turns it off, port 0 picks a free one
	MQTTListen         string            // MQTT over mutual TLS
	DeviceHTTPSListen  string            // credential provider
	ConsoleListen      string            // the console
	SIMListen          string            // the closed network
	PublicHosts        []string          // the first is what DescribeEndpoint returns
	TLSCert, TLSKey    string            // the operator's server certificate, instead of our own
	Region             string            // fixed at first start
	AccountID          string            // fixed at first start
	S3Durability       string            // "full" or "fast"
	S3Engine           string            // "local"
	MQTTProfile        string            // "aws" or "standard"
	MQTTLimits         map[string]string // by name, see MQTTLimits; the profile's where there is none
	InsecureHTTP       bool              // serve plain HTTP beyond loopback
	DiskReserve        string            // how much of the disk stays free: "256MiB", "5%", "0"; "" is the default
	UploadTopics       []string          // topic filters of messages that may hold a file
	UploadFailedTopics []string          // topic filters of messages that may say that an upload has failed; none means the above, then /failed
	UploadsKeep        time.Duration     // how long the ledger keeps a record; 0 for ever
	UploadsPerThing    int64             // how many records it keeps of each thing; 0 for all
	UploadsMax         int64             // how many records it keeps; 0 for all
	OTLPEndpoint       string            // base URL of an OpenTelemetry collector; "" exports nothing
	OTLPHeaders        string            // NAME=VALUE,… for the collector; secret
	OTLPSampleRatio    float64           // of requests that are traced, 0 to 1

	AdminAccessKeyID     string // become the administrator's key at first start
	AdminSecretAccessKey string

	Version string
	Logger  *slog.Logger
	Now     func() time.Time
	Rand    io.Reader
}

// DefaultRegion and DefaultAccountID hold for a first start that names none.
const (
	DefaultRegion    = "us-east-1"
	DefaultAccountID = "000000000000"
	DefaultHost      = "localhost"
)

// DefaultOptions returns the contract's defaults.
func DefaultOptions() Options {
	return Options{
		Data:              "./sekisho-data",
		APIListen:         "127.0.0.1:4566",
		MQTTListen:        "127.0.0.1:8883",
		DeviceHTTPSListen: "127.0.0.1:8443",
		ConsoleListen:     "127.0.0.1:4580",
		PublicHosts:       []string{DefaultHost},
		S3Durability:      "full",
		S3Engine:          "local",
		MQTTProfile:       profileAWS,
		UploadTopics:      []string{"file/upload"},
		UploadsKeep:       90 * 24 * time.Hour,
		UploadsPerThing:   100_000,
		UploadsMax:        1_000_000,
		OTLPSampleRatio:   1,
	}
}

// UsageError is a setting that no start can work with.
type UsageError struct{ msg string }

// Error says which setting and why.
func (e *UsageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &UsageError{msg: fmt.Sprintf(format, args...)}
}

func regionPattern() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`) }

func hostPattern() *regexp.Regexp {
	return regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
}

// Validate reports the first setting that cannot be served.
func (o *Options) Validate() error {
	if o.Data == "" {
		return usagef("--data: a folder is needed")
	}
	if o.Region != "" && !regionPattern().MatchString(o.Region) {
		return usagef("--region %q: not a region name such as us-east-1", o.Region)
	}
	if o.AccountID != "" && !iot.ValidAccountID(o.AccountID) {
		return usagef("--account-id %q: twelve digits are needed", o.AccountID)
	}
	if !slices.Contains([]string{"full", "fast"}, o.S3Durability) {
		return usagef("--s3-durability %q: full or fast", o.S3Durability)
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	if (o.AdminAccessKeyID == "") != (o.AdminSecretAccessKey == "") {
		return usagef("SEKISHO_ADMIN_ACCESS_KEY_ID and SEKISHO_ADMIN_SECRET_ACCESS_KEY go together")
	}
	if err := o.validateUploads(); err != nil {
		return err
	}
	if _, err := parseReserve(o.DiskReserve); err != nil {
		return err
	}
	if err := o.validateOTLP(); err != nil {
		return err
	}
	if err := o.validateUnbuilt(); err != nil {
		return err
	}
	if _, _, err := o.mqttLimits(); err != nil {
		return err
	}
	return o.validateNetwork()
}

// validateUnbuilt refuses what this version cannot do, rather than do something else.
func (o *Options) validateUnbuilt() error {
	if o.Database != "" {
		if !isPostgres(o.Database) {
			return usagef("--database %q: a postgres:// URL is needed; leave it out to use SQLite in the data folder", redactURL(o.Database))
		}
		if err := sqlstore.CheckURL(o.Database); err != nil {
			return usagef("--database: %v", err)
		}
	}
	if o.S3Engine != "local" {
		if !strings.HasPrefix(o.S3Engine, "s3://") {
			return usagef("--s3-engine %q: local or s3://HOST[:PORT]/PREFIX?region=…", o.S3Engine)
		}
		return usagef("--s3-engine: a remote engine is not built yet; leave it out to use the local one")
	}
	return nil
}

// redactURL is a URL without user, password and parameters. Where what is left
// may still be a part of a password, nothing of it is shown.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || strings.Contains(u.Host+u.Path, "@") {
		scheme, _, _ := strings.Cut(s, ":")
		return scheme + "://…"
	}
	return u.Scheme + "://" + u.Host + u.Path
}

func (o *Options) validateNetwork() error {
	if len(o.PublicHosts) == 0 {
		return usagef("--public-host: at least one is needed")
	}
	for _, h := range o.PublicHosts {
		if len(h) > 253 || !hostPattern().MatchString(h) && net.ParseIP(h) == nil {
			return usagef("--public-host %q: not a host name", h)
		}
	}
	beyond := ""
	for flag, addr := range map[string]string{
		"--api-listen": o.APIListen, "--mqtt-listen": o.MQTTListen,
		"--device-https-listen": o.DeviceHTTPSListen, "--console-listen": o.ConsoleListen,
	} {
		if addr == "" {
			continue
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return usagef("%s %q: HOST:PORT is needed", flag, addr)
		}
		if !loopback(host) {
			beyond = flag
		}
	}
	if beyond != "" && len(o.PublicHosts) == 1 && o.PublicHosts[0] == DefaultHost {
		return usagef("%s listens beyond loopback, but --public-host is still %q: devices and tools would be sent to themselves; "+
			"set --public-host to the name under which they reach this server", beyond, DefaultHost)
	}
	return nil
}

// loopback reports whether a listen host can only be reached from this machine.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// refusePlainHTTP reports whether the API port must answer HTTPS alone.
func (o *Options) refusePlainHTTP() bool {
	host, _, err := net.SplitHostPort(o.APIListen)
	return err == nil && !loopback(host) && !o.InsecureHTTP
}

// IsUsage reports whether err is about the settings rather than the machine.
func IsUsage(err error) bool {
	_, ok := errors.AsType[*UsageError](err)
	return ok
}
