package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/sts"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// openDesk makes what answers devices that upload by MQTT. It ends after the broker.
func (s *Server) openDesk(r *rooms) error {
	o := &s.opts
	_, limits, err := o.mqttLimits()
	if err != nil {
		return err
	}
	maxReply := broker.AWSLimits().Payload // what clients are used to
	if limits.Payload > 0 {
		maxReply = min(maxReply, limits.Payload)
	}
	s.desk = uploads.NewDesk(uploads.DeskConfig{
		Store: s.db.Uploads(), Messages: ownMessages{s}, MaxReply: maxReply, Now: o.Now, Log: o.Logger,
		Gate: &uploadGate{server: s, provider: sts.NewProvider(r.tokens, r.aliases, o.Logger), objects: r.objects, signer: v4.NewSigner(func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true // of S3 alone
			o.LogSigning = false
		})},
	})
	s.stop(s.desk.Close)
	return nil
}

// askDesk is told by the broker.
func (s *Server) askDesk(p *broker.Published) {
	s.desk.Take(&uploads.Ask{
		Device: uploads.Device{Certificate: p.Certificate, Thing: p.Thing, SourceIP: p.Peer.SourceIP, SourceVPCE: p.Peer.SourceVPCE},
		Topic:  p.Topic, Payload: p.Payload, Done: p.Done,
	})
}

// uploadGate is the credential provider and S3 as devices reach them by MQTT.
type uploadGate struct {
	server   *Server
	provider *sts.Provider
	objects  *s3.Service
	signer   *v4.Signer
}

// Enter implements uploads.Gate.
func (g *uploadGate) Enter(ctx context.Context, d *uploads.Device, alias string) (uploads.Session, error) {
	base, err := url.Parse(g.server.info().Endpoints.S3)
	if err != nil || base.Host == "" {
		return nil, iot.Errorf(iot.KindState, "uploads", "S3 is not served here")
	}
	c, err := g.provider.Credentials(ctx, sts.Device{Certificate: d.Certificate, SourceIP: d.SourceIP, SourceVPCE: d.SourceVPCE}, d.Thing, true, alias)
	if err != nil {
		return nil, err
	}
	return &uploadSession{gate: g, device: *d, base: base, credentials: aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
	}}, nil
}

// uploadSession makes requests of a device's session: those that the device
// sends are signed here, and the others go to the API port's own handler, which
// judges them as any request.
type uploadSession struct {
	gate        *uploadGate
	device      uploads.Device
	base        *url.URL
	credentials aws.Credentials
}

// request is one of a session to S3.
func (s *uploadSession) request(ctx context.Context, method string, o *uploads.Object, query url.Values, body []byte) (*http.Request, error) {
	u := *s.base
	u.Path, u.RawPath = "/"+o.Bucket+"/"+o.Key, "/"+o.Bucket+"/"+escapedKey(o.Key)
	query.Set("x-sekisho-door", "mqtt")
	if o.MultipartID != "" {
		query.Set("uploadId", o.MultipartID)
	} else if o.UploadID != "" {
		query.Set("x-sekisho-upload-id", o.UploadID)
	}
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request to S3: %w", err)
	}
	return r, nil
}

// escapedKey is a key in the one spelling that signatures are made of.
func escapedKey(key string) string {
	b := make([]byte, 0, len(key))
	for i := range len(key) {
		c := key[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~/", c) >= 0 {
			b = append(b, c)
		} else {
			b = fmt.Appendf(b, "%%%02X", c)
		}
	}
	return string(b)
}

// URL implements uploads.Session.
func (s *uploadSession) URL(ctx context.Context, p *uploads.Put) (string, map[string]string, error) {
	query := url.Values{"X-Amz-Expires": {strconv.Itoa(int(p.Lifetime / time.Second))}}
	if p.Part > 0 {
		query.Set("partNumber", strconv.Itoa(p.Part))
	}
	r, err := s.request(ctx, http.MethodPut, &p.Object, query, nil)
	if err != nil {
		return "", nil, err
	}
	r.ContentLength = p.Size
	r.Header.Set("X-Amz-Content-Sha256", p.SHA256)
	signed, _, err := s.gate.signer.PresignHTTP(ctx, s.credentials, r, p.SHA256, "s3", s.region(), s.gate.server.opts.Now())
	if err != nil {
		return "", nil, fmt.Errorf("sign a URL: %w", err)
	}
	return signed, map[string]string{"content-length": strconv.FormatInt(p.Size, 10), "x-amz-content-sha256": p.SHA256}, nil
}

func (s *uploadSession) region() string { return s.gate.server.opts.Region }

// do sends a request and reads the answer into out, where that is not nil.
func (s *uploadSession) do(r *http.Request, body []byte, out any) error {
	ctx := r.Context()
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", hash)
	if err := s.gate.signer.SignHTTP(ctx, s.credentials, r, hash, "s3", s.region(), s.gate.server.opts.Now()); err != nil {
		return fmt.Errorf("sign a request to S3: %w", err)
	}
	if s.device.SourceVPCE != "" {
		r = r.WithContext(api.WithSourceVpce(ctx, s.device.SourceVPCE))
	}
	// It comes from where the device is, which speaks TLS.
	r.RemoteAddr, r.TLS = net.JoinHostPort(s.device.SourceIP, "0"), &tls.ConnectionState{}
	w := &recorder{header: http.Header{}}
	s.gate.server.front.ServeHTTP(w, r)
	if w.status != http.StatusOK && w.status != http.StatusNoContent {
		return w.refusal()
	}
	if out == nil {
		return nil
	}
	if err := xml.Unmarshal(w.body.Bytes(), out); err != nil {
		return fmt.Errorf("read the answer of S3: %w", err)
	}
	return nil
}

// maxOpen is how many multipart uploads below a thing's prefix the door adds to:
// each is kept for a week.
const maxOpen = 100

// room refuses to begin one upload more of a thing that has too many.
func (s *uploadSession) room(ctx context.Context, bucket string) error {
	b, err := s.gate.objects.Bucket(ctx, bucket)
	if err != nil {
		return err
	}
	page, err := s.gate.objects.ListUploads(ctx, &s3.ListUploadsInput{Bucket: b, Prefix: s.device.Thing + "/", Max: maxOpen})
	if err == nil && len(page.Uploads) >= maxOpen {
		err = iot.Errorf(iot.KindLimit, "uploads", "%d uploads in parts are under way: complete or abort them", maxOpen)
	}
	return err
}

// Create implements uploads.Session.
func (s *uploadSession) Create(ctx context.Context, o *uploads.Object, meta map[string]string) (string, error) {
	if err := s.room(ctx, o.Bucket); err != nil {
		return "", err
	}
	r, err := s.request(ctx, http.MethodPost, o, url.Values{"uploads": {""}}, nil)
	if err != nil {
		return "", err
	}
	for name, v := range meta {
		r.Header.Set("X-Amz-Meta-"+name, v)
	}
	var made struct {
		UploadID string `xml:"UploadId"`
	}
	err = s.do(r, nil, &made)
	return made.UploadID, err
}

// Stored implements uploads.Session.
func (s *uploadSession) Stored(ctx context.Context, o *uploads.Object) ([]int, error) {
	var numbers []int
	for after := 0; ; {
		r, err := s.request(ctx, http.MethodGet, o, url.Values{"part-number-marker": {strconv.Itoa(after)}}, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Part []struct {
				PartNumber int
			}
			IsTruncated bool
		}
		if err := s.do(r, nil, &page); err != nil {
			return nil, err
		}
		for _, p := range page.Part {
			after = p.PartNumber
			numbers = append(numbers, after)
		}
		if !page.IsTruncated || len(page.Part) == 0 {
			return numbers, nil
		}
	}
}

// completeDocument is the body of CompleteMultipartUpload.
type completeDocument struct {
	XMLName xml.Name       `xml:"CompleteMultipartUpload"`
	Parts   []completePart `xml:"Part"`
}

type completePart struct {
	PartNumber int
	ETag       string
}

// Complete implements uploads.Session. What is stored is looked up by the
// server; the object is made of it only if the session may put it.
func (s *uploadSession) Complete(ctx context.Context, o *uploads.Object, parts int, size int64) error {
	b, err := s.gate.objects.Bucket(ctx, o.Bucket)
	if err != nil {
		return err
	}
	stored, err := s.gate.stored(ctx, s3.UploadRef{Bucket: b, Key: o.Key, ID: o.MultipartID})
	if err != nil {
		return err
	}
	if len(stored) < parts {
		return iot.Errorf(iot.KindConflict, "uploads", "%d of %d parts are stored", len(stored), parts)
	}
	doc := completeDocument{Parts: make([]completePart, len(stored))}
	for i := range stored {
		doc.Parts[i] = completePart{PartNumber: stored[i].Number, ETag: `"` + stored[i].ETag + `"`}
	}
	body, err := xml.Marshal(doc)
	if err != nil {
		return err
	}
	r, err := s.request(ctx, http.MethodPost, o, url.Values{}, body)
	if err != nil {
		return err
	}
	r.Header.Set("X-Amz-Mp-Object-Size", strconv.FormatInt(size, 10))
	return s.do(r, body, nil)
}

// stored lists the parts of an upload. One that is completed already is listed
// from what has become of it: the device may not have heard of that.
func (g *uploadGate) stored(ctx context.Context, ref s3.UploadRef) (list []s3.Part, err error) {
	for after := 0; ; {
		page, err := g.objects.ListParts(ctx, &s3.ListPartsInput{UploadRef: ref, After: after, Max: s3.MaxList})
		if iot.IsKind(err, iot.KindNotFound) {
			if o, e := g.objects.GetObject(ctx, &s3.GetInput{Bucket: ref.Bucket, Key: ref.Key, HeadOnly: true, MaxParts: s3.MaxPart}); e == nil && o.Parts > 0 {
				return o.PartList, nil
			}
		}
		if err != nil {
			return nil, err
		}
		list = append(list, page.Parts...)
		if !page.Truncated {
			return list, nil
		}
		after = list[len(list)-1].Number
	}
}

// Abort implements uploads.Session.
func (s *uploadSession) Abort(ctx context.Context, o *uploads.Object) error {
	r, err := s.request(ctx, http.MethodDelete, o, url.Values{}, nil)
	if err != nil {
		return err
	}
	return s.do(r, nil, nil)
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.ReadFrom(r)
}

// refusal is what S3 answered instead of success.
func (w *recorder) refusal() error {
	var said struct{ Code, Message string }
	if err := xml.Unmarshal(w.body.Bytes(), &said); err != nil {
		return fmt.Errorf("S3 answered %d, and nothing that can be read: %w", w.status, err)
	}
	kind := iot.KindInternal
	switch w.status {
	case http.StatusForbidden:
		kind = iot.KindDenied
	case http.StatusNotFound:
		kind = iot.KindNotFound
	case http.StatusBadRequest:
		kind = iot.KindInvalid
	case http.StatusConflict, http.StatusPreconditionFailed:
		kind = iot.KindConflict
	case http.StatusServiceUnavailable:
		kind = iot.KindBusy
	}
	return &iot.Error{Kind: kind, Resource: "uploads", Message: said.Code + ": " + said.Message}
}
