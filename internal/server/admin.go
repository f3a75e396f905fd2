package server

import (
	"cmp"
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Files of the data folder that `sekisho env` reads.
const (
	adminFile  = "admin.json"
	RootCAFile = "pki/root-ca.pem"
)

// adminKey is the account root's access key, as admin.json holds it (0600).
type adminKey struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	Region          string `json:"region"`
	AccountID       string `json:"accountId"`
	PublicHost      string `json:"publicHost"`
}

// loadAdminKey reads the administrator's key, or makes one, at first start.
func loadAdminKey(o *Options) (k adminKey, made bool, err error) {
	b, err := os.ReadFile(filepath.Join(o.Data, adminFile))
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &k); err != nil {
			return k, false, fmt.Errorf("%s: %w", adminFile, err)
		}
		return k, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return k, false, err
	}
	k.AccessKeyID, k.SecretAccessKey = o.AdminAccessKeyID, o.AdminSecretAccessKey
	if k.AccessKeyID == "" {
		var id [10]byte
		var secret [30]byte
		if _, err := io.ReadFull(o.Rand, id[:]); err != nil {
			return k, false, err
		}
		if _, err := io.ReadFull(o.Rand, secret[:]); err != nil {
			return k, false, err
		}
		k.AccessKeyID = "AKIA" + base32.StdEncoding.EncodeToString(id[:])
		k.SecretAccessKey = base64.StdEncoding.EncodeToString(secret[:])
	}
	return k, true, nil
}

// checkFirstKey refuses, before a first start makes anything, an administrator's
// key that no request could be signed with.
func checkFirstKey(o *Options) error {
	if _, err := os.Stat(filepath.Join(o.Data, adminFile)); err == nil || o.AdminAccessKeyID == "" {
		return nil
	}
	if !regexp.MustCompile(`^\w{16,128}$`).MatchString(o.AdminAccessKeyID) || strings.HasPrefix(o.AdminAccessKeyID, "ASIA") {
		return usagef("SEKISHO_ADMIN_ACCESS_KEY_ID: 16 to 128 letters, digits and _ are needed, and not ASIA in front, which marks temporary keys")
	}
	if n := len(o.AdminSecretAccessKey); n < 8 || n > 128 {
		return usagef("SEKISHO_ADMIN_SECRET_ACCESS_KEY: 8 to 128 characters are needed")
	}
	return nil
}

func (k adminKey) save(dir string) error {
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, adminFile), append(b, '\n'), 0o600)
}

// ClientSettings are what a client of the server on a data folder needs to know.
type ClientSettings struct {
	Dir       string // absolute
	Admin     adminKey
	Endpoints Endpoints
}

// Variable is one environment variable.
type Variable struct{ Name, Value string }

// WaitForClient reads the settings of the server that runs on dir; where one
// is starting, or is about to, it waits until ctx ends.
func WaitForClient(ctx context.Context, dir string) (ClientSettings, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ClientSettings{}, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := readClient(ctx, abs)
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return ClientSettings{}, fmt.Errorf("no server is running on %s: start one with `sekisho serve --data %s` (%w)", dir, dir, err)
		case <-tick.C:
		}
	}
}

func readClient(ctx context.Context, dir string) (ClientSettings, error) {
	c := ClientSettings{Dir: dir}
	var err error
	if c.Endpoints, err = ReadEndpoints(dir); err != nil {
		return c, err
	}
	if err := accepts(ctx, c.Endpoints); err != nil {
		return c, err
	}
	b, err := os.ReadFile(filepath.Join(dir, adminFile)) //nolint:gosec // the folder that the operator named
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c.Admin)
}

// accepts reports whether a server listens where endpoints.json says: a killed
// one leaves the file, and the next one removes it only after it has the lock.
// The lock itself is not asked: to test it is to take it, and a server that is
// starting would find it taken.
func accepts(ctx context.Context, e Endpoints) error {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", cmp.Or(e.API, e.DeviceHTTPS, e.MQTT, e.Console))
	if err != nil {
		return fmt.Errorf("%s names a server that does not answer: %w", EndpointsFile, err)
	}
	return conn.Close()
}

// Variables returns what `sekisho env` prints, in its order.
func (c ClientSettings) Variables() []Variable {
	rootCA := filepath.Join(c.Dir, RootCAFile)
	v := []Variable{
		{"AWS_ACCESS_KEY_ID", c.Admin.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", c.Admin.SecretAccessKey},
		{"AWS_REGION", c.Admin.Region},
		{"AWS_DEFAULT_REGION", c.Admin.Region},
	}
	if c.Endpoints.API != "" {
		v = append(v, Variable{"AWS_ENDPOINT_URL", apiURL(c.Endpoints.API, c.Admin.PublicHost)})
	}
	v = append(v, Variable{"AWS_CA_BUNDLE", rootCA}, Variable{"SEKISHO_ROOT_CA", rootCA})
	if c.Endpoints.MQTT != "" {
		v = append(v, Variable{"SEKISHO_MQTT_ENDPOINT", reachable(c.Endpoints.MQTT, c.Admin.PublicHost)})
	}
	if c.Endpoints.DeviceHTTPS != "" {
		v = append(v, Variable{"SEKISHO_CREDENTIAL_ENDPOINT", reachable(c.Endpoints.DeviceHTTPS, c.Admin.PublicHost)})
	}
	return v
}

// apiURL is plain HTTP to a loopback address, since a host name would make
// some S3 clients use bucket.localhost, which does not resolve everywhere.
func apiURL(addr, publicHost string) string {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && loopback(host) {
		return "http://" + addr
	}
	return "https://" + net.JoinHostPort(publicHost, port)
}

// reachable is the bound address where it is a loopback one, else the public host's.
func reachable(addr, publicHost string) string {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && loopback(host) {
		return addr
	}
	return net.JoinHostPort(publicHost, port)
}
