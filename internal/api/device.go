package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// DevicePort routes the HTTP of the device port: /topics/… to publish, /mqtt to
// websocket, and the rest, /role-aliases/… and what is unknown, to credentials.
// A server should have the ConnContext of one of the endpoints, which spares
// them the fingerprint of every request but a connection's first.
func DevicePort(credentials, publish, websocket http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := awsapi.RawPath(r); {
		case path == mqttPath:
			websocket.ServeHTTP(w, r)
		case strings.HasPrefix(path, topicsPath):
			publish.ServeHTTP(w, r)
		default:
			credentials.ServeHTTP(w, r)
		}
	})
}

// deviceCertificates finds out which certificate a client of the device port
// holds. Whether it is any good is for each request to ask.
type deviceCertificates struct {
	hosts []string // that a client may ask for, with all below them; lower case
}

func newDeviceCertificates(publicHosts []string) deviceCertificates {
	d := deviceCertificates{hosts: []string{"localhost"}}
	for _, h := range publicHosts {
		d.hosts = append(d.hosts, strings.ToLower(h))
	}
	return d
}

// deviceConn is what is known of a connection once its handshake is done.
type deviceConn struct {
	once sync.Once
	id   iot.CertificateID // "" where there is no certificate, or the name asked for is not ours
}

type deviceConnKey struct{}

// ConnContext is for http.Server.ConnContext.
func (d *deviceCertificates) ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, deviceConnKey{}, &deviceConn{})
}

// certificateID returns the fingerprint of the certificate that the client
// proved to hold, "" where nothing shown here can be valid.
func (d *deviceCertificates) certificateID(r *http.Request) iot.CertificateID {
	c, ok := r.Context().Value(deviceConnKey{}).(*deviceConn)
	if !ok {
		return d.fingerprint(r)
	}
	c.once.Do(func() { c.id = d.fingerprint(r) })
	return c.id
}

func (d *deviceCertificates) fingerprint(r *http.Request) iot.CertificateID {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || !d.ownName(r.TLS.ServerName) {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return iot.CertificateID(hex.EncodeToString(sum[:]))
}

// ownName accepts our hosts, what is below them, and clients that send no name.
func (d *deviceCertificates) ownName(name string) bool {
	if name == "" || net.ParseIP(name) != nil {
		return true
	}
	name = strings.ToLower(name)
	for _, h := range d.hosts {
		if name == h || strings.HasSuffix(name, h) && name[len(name)-len(h)-1] == '.' {
			return true
		}
	}
	return false
}

// stranger says why certificateID knows nobody.
func (d *deviceCertificates) stranger(r *http.Request) string {
	if r.TLS != nil && !d.ownName(r.TLS.ServerName) {
		return "the client asked for a name that is not a --public-host: " + clipped(r.TLS.ServerName)
	}
	return "the client showed no certificate"
}

// sourceOf is where a request came from, as the connection knows it.
func sourceOf(r *http.Request) (ip, vpce string) {
	if vpce, _ = r.Context().Value(sourceVpceKey{}).(string); vpce != "" {
		return "", vpce
	}
	return sourceIP(r), ""
}

// peerOf is the other end of a request's connection, without who it is.
func peerOf(r *http.Request) broker.Peer {
	var p broker.Peer
	p.SourceIP, p.SourceVPCE = sourceOf(r)
	if r.TLS != nil {
		p.DomainName = r.TLS.ServerName
	}
	p.Plain = r.TLS == nil
	return p
}
