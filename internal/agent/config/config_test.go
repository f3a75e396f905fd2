package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/config"
)

// What enroll writes, and the keys that an operator may add.
const full = `{
  "thing": "camera-1",
  "thingArn": "arn:aws:iot:us-east-1:000000000000:thing/camera-1",
  "certificateArn": "arn:aws:iot:us-east-1:000000000000:cert/00",
  "certificateId": "00",
  "roleAlias": "uploads",
  "region": "us-east-1",
  "endpoints": {"credentials": "sekisho.example", "mqtt": "[::1]:8883", "s3": "https://sekisho.example:4566"},
  "certificate": "device.pem.crt",
  "privateKey": "/etc/keys/private.pem.key",
  "rootCa": "root-ca.pem",
  "bucket": "uploads",
  "topic": "file/upload",
  "keyTemplate": "{thing}/{name}"
}
`

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := config.Load(write(t, dir, "device.json", []byte(full)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Certificate != filepath.Join(dir, "device.pem.crt") || c.PrivateKey != "/etc/keys/private.pem.key" || c.RootCA != filepath.Join(dir, "root-ca.pem") {
		t.Errorf("files %q, %q, %q", c.Certificate, c.PrivateKey, c.RootCA)
	}
	if e := (config.Endpoints{Credentials: "sekisho.example:443", MQTT: "[::1]:8883", S3: "https://sekisho.example:4566"}); c.Endpoints != e {
		t.Errorf("endpoints %+v, want %+v", c.Endpoints, e)
	}
	if c.Bucket != "uploads" || c.Topic != "file/upload" || c.KeyTemplate != "{thing}/{name}" {
		t.Errorf("uploads: %+v", c)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	swap := func(a, b string) string { return strings.Replace(full, a, b, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "is empty: copy it"},
		"white":            {" \n", "is empty: copy it"},
		"another type":     {swap(`"camera-1"`, `7`), `"thing" must not be a JSON number`},
		"an array":         {"[]", "must not be a JSON array"},
		"not JSON":         {"\n{thing}", "is not JSON (line 2)"},
		"two documents":    {full + full, "goes on after its end"},
		"misspelt":         {swap("roleAlias", "rolealais"), `unknown field "rolealais"`},
		"no thing":         {swap("camera-1", "camera 1"), `"thing" is "camera 1"`},
		"no certificate":   {swap("device.pem.crt", ""), `"certificate" is missing`},
		"no key":           {swap("/etc/keys/private.pem.key", ""), `"privateKey" is missing`},
		"role alias":       {swap(`"uploads"`, `"up/loads"`), `"roleAlias" is "up/loads"`},
		"URL for host":     {swap(`"sekisho.example"`, `"https://sekisho.example"`), `"endpoints.credentials" is "https://sekisho.example": HOST:PORT is needed`},
		"path behind host": {swap(`"sekisho.example"`, `"sekisho.example/x"`), "HOST:PORT is needed"},
		"port":             {swap(`[::1]:8883`, `host:88830`), `"endpoints.mqtt"`},
		"no port":          {swap(`[::1]:8883`, `host:`), `"endpoints.mqtt"`},
		"host for URL":     {swap("https://sekisho.example:4566", "sekisho.example:4566"), `"endpoints.s3"`},
		"secret in URL":    {swap("https://sekisho.example:4566", "https://a:b@sekisho.example"), `"endpoints.s3"`},
		"something large":  {strings.Repeat(" ", 1<<17), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(write(t, t.TempDir(), "device.json", []byte(c.text)))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "device.json") {
				t.Errorf("%v lacks %q", err, c.want)
			}
		})
	}
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.json")); err == nil || !strings.Contains(err.Error(), "enroll") {
		t.Errorf("no file: %v", err)
	}
}

// However much of the file came, what is missing is noticed.
func TestLoadTruncated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n := 1; n < len(full)-2; n++ { // without the line end and the last brace it is whole
		_, err := config.Load(write(t, dir, "device.json", []byte(full[:n])))
		if err == nil || !strings.Contains(err.Error(), "ends in the middle") {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := pair(t)
	_, otherKey := pair(t)
	write(t, dir, "cert", cert)
	write(t, dir, "key", key)
	write(t, dir, "other", otherKey)
	write(t, dir, "cut", key[:len(key)/2])
	for name, c := range map[string]struct{ cert, key, root, want string }{
		"right":              {"cert", "key", "cert", ""},
		"the system's roots": {"cert", "key", "", ""},
		"another's key":      {"cert", "other", "cert", "other is not the key of "},
		"key and key":        {"key", "key", "cert", "key holds no PEM certificate"},
		"cert and cert":      {"cert", "cert", "cert", "cert holds no PEM private key"},
		"half a key":         {"cert", "cut", "cert", "cut holds no PEM private key"},
		"no such key":        {"cert", "none", "cert", `"privateKey" of device.json`},
		"no such root":       {"cert", "key", "none", `"rootCa" of device.json`},
		"a key as root":      {"cert", "key", "key", "key holds no PEM certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := &config.Config{Certificate: filepath.Join(dir, c.cert), PrivateKey: filepath.Join(dir, c.key)}
			if c.root != "" {
				conf.RootCA = filepath.Join(dir, c.root)
			}
			got, err := conf.TLS(time.Now)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%v lacks %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.InsecureSkipVerify || got.GetClientCertificate == nil || got.Time == nil || (got.RootCAs == nil) != (c.root == "") {
				t.Errorf("TLS %+v", got)
			}
		})
	}
}

func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "camera-1"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
