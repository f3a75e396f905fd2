package config

import (
	"net"
	"testing"
)

// FuzzDecode: whatever stands in the file, what is accepted can be used.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"thing":"a","certificate":"c","privateKey":"k","roleAlias":"r","endpoints":{"credentials":"h","mqtt":"::1","s3":"https://h"}}`))
	f.Add([]byte(`{"thing":"a","certificate":"c","privateKey":"k","endpoints":{"mqtt":"[::1]:8883","s3":"http://[::1]:1"}}`))
	f.Add([]byte(`{"thing":"a`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decode(b)
		if err != nil || c.validate() != nil {
			return
		}
		if c.Thing == "" || c.Certificate == "" || c.PrivateKey == "" {
			t.Errorf("%+v", c)
		}
		for _, e := range []string{c.Endpoints.Credentials, c.Endpoints.MQTT} {
			if host, port, err := net.SplitHostPort(e); e != "" && (err != nil || host == "" || port == "") {
				t.Errorf("endpoint %q", e)
			}
		}
	})
}
