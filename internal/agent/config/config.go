// Package config reads device.json, the file that tells a device who it is and
// where its server is, and gives the TLS that follows from it.
//
// Invariant: what Load returns names files by absolute paths and endpoints that
// can be dialled; a file that is wrong is refused with what is wrong and what to
// do about it.
package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxSize is far above any device.json; more is some other file.
const maxSize = 64 << 10

// Config is device.json.
type Config struct {
	Thing          string    `json:"thing"`
	ThingARN       string    `json:"thingArn"`
	CertificateARN string    `json:"certificateArn"`
	CertificateID  string    `json:"certificateId"`
	RoleAlias      string    `json:"roleAlias"` // "" where the device asks for no credentials
	Region         string    `json:"region"`
	Endpoints      Endpoints `json:"endpoints"`

	// Files; relative ones are relative to the folder of device.json, and Load makes them absolute.
	Certificate string `json:"certificate"`
	PrivateKey  string `json:"privateKey"`
	RootCA      string `json:"rootCa"` // "" trusts what the system trusts

	// What uploads do where no flag says it.
	Bucket      string `json:"bucket"`
	Topic       string `json:"topic"`
	KeyTemplate string `json:"keyTemplate"`

	path string
}

// Endpoints are where the server is: host:port, but for S3, which is a URL.
// Load fills in a port that is missing. An empty one is not there, and an empty
// S3 is AWS's own.
type Endpoints struct {
	Credentials string `json:"credentials"`
	MQTT        string `json:"mqtt"`
	S3          string `json:"s3"`
}

// Path is the file that was read.
func (c *Config) Path() string { return c.path }

// Load reads the device.json at path.
func Load(path string) (*Config, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	b, err := read(path)
	if err != nil {
		return nil, err
	}
	c, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	c.path = path
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	dir := filepath.Dir(path)
	for _, p := range []*string{&c.Certificate, &c.PrivateKey, &c.RootCA} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the file that the caller named
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist: name the device.json that `sekisho enroll` left by --config", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the device's configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a folder: name the device.json in it by --config", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the device's configuration: %w", err)
	}
	if len(b) > maxSize {
		return nil, fmt.Errorf("%s is too large to be a device.json", path)
	}
	return b, nil
}

// decode is strict: a key that is misspelt would be a setting that is not in force.
func decode(b []byte) (*Config, error) {
	c := &Config{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(c)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("goes on after its end")
		}
	}
	switch syntax, kind := (*json.SyntaxError)(nil), (*json.UnmarshalTypeError)(nil); {
	case err == nil:
		return c, nil
	case errors.Is(err, io.EOF) && len(bytes.TrimSpace(b)) == 0:
		return nil, errors.New("is empty: copy it to the device again, or enrol the device anew")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return nil, fmt.Errorf("ends in the middle, after %d bytes: copy it to the device again, or enrol the device anew", len(b))
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("is not JSON (line %d): %w", 1+bytes.Count(b[:min(int(syntax.Offset), len(b))], []byte("\n")), err)
	case errors.As(err, &kind):
		return nil, fmt.Errorf("is wrong: %q must not be a JSON %s", kind.Field, kind.Value)
	}
	return nil, fmt.Errorf("is wrong: %s: check the spelling", strings.TrimPrefix(err.Error(), "json: "))
}

func (c *Config) validate() error {
	if !iot.ValidThingName(c.Thing) {
		return fmt.Errorf("\"thing\" is %q, not a thing name (1 to 128 letters, digits, and : _ -)", c.Thing)
	}
	for _, f := range []struct{ key, value string }{{"certificate", c.Certificate}, {"privateKey", c.PrivateKey}} {
		if f.value == "" {
			return fmt.Errorf("%q is missing: the name of a PEM file", f.key)
		}
	}
	if c.RoleAlias != "" && !validRoleAlias(c.RoleAlias) {
		return fmt.Errorf("\"roleAlias\" is %q, not a role alias (1 to 128 letters, digits, and _ = , @ -)", c.RoleAlias)
	}
	var err error
	if c.Endpoints.Credentials, err = hostPort("credentials", c.Endpoints.Credentials, "443"); err != nil {
		return err
	}
	if c.Endpoints.MQTT, err = hostPort("mqtt", c.Endpoints.MQTT, "8883"); err != nil {
		return err
	}
	return validURL(c.Endpoints.S3)
}

func validRoleAlias(s string) bool {
	return len(s) <= 128 && strings.IndexFunc(s, func(r rune) bool {
		word := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !word && !strings.ContainsRune("_=,@-", r)
	}) < 0
}

// hostPort completes an endpoint by its port.
func hostPort(key, s, port string) (string, error) {
	if s == "" {
		return "", nil
	}
	host, given, err := net.SplitHostPort(s)
	if err != nil { // no port, or an IPv6 address alone
		host, given = s, port
		if inner, ok := strings.CutPrefix(s, "["); ok {
			host = strings.TrimSuffix(inner, "]")
		}
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			host = ""
		}
	}
	n, err := strconv.ParseUint(cmp.Or(given, "0"), 10, 16)
	if !validHost(host) || err != nil || n == 0 {
		return "", fmt.Errorf("\"endpoints.%s\" is %q: HOST:PORT is needed, without https://", key, s)
	}
	return net.JoinHostPort(host, given), nil
}

// validHost says whether s could be a name or an address; dialling it says whether it is.
func validHost(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/@?#[]\\\"", r) }) < 0
}

func validURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("\"endpoints.s3\" is %q: a URL such as https://HOST:PORT is needed", s)
	}
	return nil
}
