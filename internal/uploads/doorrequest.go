package uploads

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// The sizes of the door.
const (
	PartSize    = 64 << 20 // what is larger goes in parts; they are larger where there would be too many
	maxParts    = 10_000   // of an object
	maxObject   = 5 << 40
	maxURLs     = 32 // of one answer, which has to fit into a message
	maxName     = 512
	maxUploadID = 128
)

// doorRequest is what devices ask: all of the verbs have these fields in common.
type doorRequest struct {
	Name        string     `json:"name"`
	Size        *int64     `json:"size"`
	SHA256      string     `json:"sha256"`
	UploadID    string     `json:"uploadId"`
	MultipartID string     `json:"multipartId"`
	Parts       []partHash `json:"parts"`
}

type partHash struct {
	Number int    `json:"number"`
	SHA256 string `json:"sha256"`
}

// accepted is the payload of an answer.
type accepted struct {
	Request     string            `json:"request"`
	Status      string            `json:"status"` // upload, completed or aborted
	Name        string            `json:"name"`
	UploadID    string            `json:"uploadId,omitempty"`
	Bucket      string            `json:"bucket"`
	Key         string            `json:"key"`
	Expires     *time.Time        `json:"expires,omitempty"` // when the URLs do
	Method      string            `json:"method,omitempty"`
	URL         string            `json:"url,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	MultipartID string            `json:"multipartId,omitempty"`
	PartSize    int64             `json:"partSize,omitempty"`
	PartCount   int               `json:"partCount,omitempty"`
	Stored      []int             `json:"stored,omitempty"` // parts that need not be sent again
	Parts       []acceptedPart    `json:"parts,omitempty"`
}

type acceptedPart struct {
	Number  int               `json:"number"`
	Size    int64             `json:"size"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

// serve does what a message asks for.
func (d *Desk) serve(ctx context.Context, a *Ask, verb string, in *doorRequest) (any, error) {
	if err := in.read(a.Payload, verb); err != nil {
		return nil, err
	}
	setting, err := d.cfg.Store.Door(ctx)
	if err != nil {
		return nil, err
	}
	if setting == (DoorSetting{}) {
		return nil, iot.Errorf(iot.KindState, "uploads", "Uploads by MQTT are not set up on this server")
	}
	s, err := d.cfg.Gate.Enter(ctx, &a.Device, setting.RoleAlias)
	if err != nil {
		return nil, err
	}
	o := &Object{Bucket: setting.Bucket, Key: a.Thing + "/" + in.Name, MultipartID: in.MultipartID, UploadID: in.UploadID}
	out := &accepted{Request: verb, Name: in.Name, UploadID: in.UploadID, Bucket: o.Bucket, Key: o.Key, MultipartID: o.MultipartID}
	switch verb {
	case "complete":
		out.Status = "completed"
		_, count := partsOf(*in.Size)
		return out, s.Complete(ctx, o, count, *in.Size)
	case "abort":
		out.Status = "aborted"
		return out, s.Abort(ctx, o)
	}
	out.Status = "upload"
	out.Expires = new(d.cfg.Now().Add(urlLifetime).UTC().Truncate(time.Second))
	if *in.Size <= PartSize {
		out.Method = "PUT"
		out.URL, out.Headers, err = s.URL(ctx, &Put{Object: *o, Size: *in.Size, SHA256: in.SHA256, Lifetime: urlLifetime})
		return out, err
	}
	return out, in.inParts(ctx, s, o, out)
}

// inParts begins a multipart upload, or goes on with one.
func (in *doorRequest) inParts(ctx context.Context, s Session, o *Object, out *accepted) (err error) {
	out.PartSize, out.PartCount = partsOf(*in.Size)
	for _, p := range in.Parts {
		if p.Number > out.PartCount {
			return invalid("there is no part %d: parts have %d bytes, and there are %d", p.Number, out.PartSize, out.PartCount)
		}
	}
	if o.MultipartID == "" {
		meta := map[string]string{"sha256": in.SHA256}
		if o.UploadID != "" {
			meta[MetaUploadID] = o.UploadID
		}
		if o.MultipartID, err = s.Create(ctx, o, meta); err != nil {
			return err
		}
		out.MultipartID = o.MultipartID
	} else if out.Stored, err = s.Stored(ctx, o); err != nil && !iot.IsKind(err, iot.KindDenied) { // the role need not allow to ask
		return err
	}
	if len(in.Parts) > 0 {
		out.Method = "PUT"
	}
	for _, p := range in.Parts {
		x := acceptedPart{Number: p.Number, Size: min(out.PartSize, *in.Size-int64(p.Number-1)*out.PartSize)}
		x.URL, x.Headers, err = s.URL(ctx, &Put{Object: *o, Part: p.Number, Size: x.Size, SHA256: p.SHA256, Lifetime: urlLifetime})
		if err != nil {
			return err
		}
		out.Parts = append(out.Parts, x)
	}
	return nil
}

// MetaUploadID is the user metadata that an object of parts has its upload's id in.
const MetaUploadID = "sekisho-upload-id"

// partsOf returns how large the parts of an object are, and how many.
func partsOf(size int64) (partSize int64, count int) {
	partSize = PartSize
	for size > partSize*maxParts {
		partSize *= 2
	}
	return partSize, int((size + partSize - 1) / partSize)
}

func invalid(format string, args ...any) error {
	return &iot.Error{Kind: iot.KindInvalid, Resource: "uploads", Message: fmt.Sprintf(format, args...)}
}

// read decodes and judges a message.
func (in *doorRequest) read(payload []byte, verb string) error {
	if !utf8.Valid(payload) || json.Unmarshal(payload, in) != nil {
		return invalid("the message is not a JSON object of name, size and sha256")
	}
	if err := checkName(in.Name); err != nil {
		return err
	}
	if len(in.UploadID) > maxUploadID || strings.ContainsFunc(in.UploadID, unprintable) {
		return invalid("uploadId has at most %d bytes and no control characters", maxUploadID)
	}
	if len(in.MultipartID) > maxUploadID || in.MultipartID == "" && verb != "request" {
		return invalid("multipartId is needed: the one that was answered to the request")
	}
	if verb == "abort" {
		return nil
	}
	switch {
	case in.Size == nil || *in.Size < 0:
		return invalid("size is needed: the number of bytes")
	case *in.Size > maxObject:
		return iot.Errorf(iot.KindTooLarge, "uploads", "An object has at most %d bytes", int64(maxObject))
	case verb == "complete":
		return nil
	case !isSHA256(in.SHA256):
		return invalid("sha256 is needed: the SHA-256 of all bytes, in lower-case hex")
	case *in.Size == 0 && in.SHA256 != emptySHA256: // a length of 0 is not a part of signatures
		return invalid("sha256 is not that of no bytes, which size says")
	case len(in.Parts) > maxURLs:
		return invalid("at most %d parts may be asked for at once", maxURLs)
	}
	for i, p := range in.Parts {
		if p.Number < 1 || !isSHA256(p.SHA256) || slices.ContainsFunc(in.Parts[:i], func(other partHash) bool { return other.Number == p.Number }) {
			return invalid("each part has a number of its own, from 1, and its sha256")
		}
	}
	return nil
}

const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && s == strings.ToLower(s)
}

// unprintable reports whether a rune has no place in a name: it controls
// something, has no meaning, or turns the text around.
func unprintable(r rune) bool {
	return !unicode.IsGraphic(r) || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
}

// checkName judges the name of a file: it becomes a part of a key, below the
// thing's name.
func checkName(name string) error {
	switch {
	case name == "":
		return invalid("name is needed")
	case len(name) > maxName:
		return invalid("name has at most %d bytes", maxName)
	case strings.ContainsFunc(name, unprintable):
		return invalid("name has a character that cannot be printed")
	case strings.Contains(name, `\`):
		return invalid(`name has a \ in it`)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return invalid("name has a part that is empty, . or ..")
		}
	}
	return nil
}
