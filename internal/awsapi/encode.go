package awsapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Encode writes out, a pointer to the operation's output struct, as the answer.
// Members that are nil are left out. Of a streaming output whose reader is nil
// only the headers are written; the caller writes the bytes. An error from
// before the first byte is about out, one from after it is the client's.
func (b *Binding) Encode(w http.ResponseWriter, out any, requestID string) error {
	p, v, err := b.plan(&b.out, b.Output, out)
	if err != nil {
		return err
	}
	h := w.Header()
	setRequestID(h, b.Service.Protocol, requestID)
	status := b.encodeRest(p, v, h)
	if f := p.payload; f != nil && f.Streaming {
		if h.Get("Content-Type") == "" {
			h.Set("Content-Type", "binary/octet-stream")
		}
		w.WriteHeader(status)
		if r, ok := reflect.TypeAssert[io.Reader](v.Field(f.index)); ok && r != nil {
			_, err = io.Copy(w, r)
		}
		return err
	}
	body, contentType := b.encodeBody(p, v, requestID)
	if contentType != "" && h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType)
	}
	return finish(w, status, body)
}

// finish writes the header and the body with its length.
func finish(w http.ResponseWriter, status int, body []byte) error {
	if status == http.StatusNoContent || status == http.StatusNotModified {
		w.WriteHeader(status)
		return nil
	}
	if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if len(body) == 0 {
		return nil
	}
	_, err := w.Write(body)
	return err
}

// setRequestID sets the headers that carry the request's id.
func setRequestID(h http.Header, p Protocol, id string) {
	if p != RESTXML {
		h.Set("X-Amzn-Requestid", id)
		return
	}
	h.Set("X-Amz-Request-Id", id)
	h.Set("X-Amz-Id-2", hostID(id))
}

// hostID is the second id that S3 answers carry, derived from the first.
func hostID(requestID string) string {
	sum := sha256.Sum256([]byte(requestID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// encodeRest sets the members that travel in headers and returns the status.
func (b *Binding) encodeRest(p *plan, v reflect.Value, h http.Header) int {
	status := b.Status
	for _, f := range p.rest {
		member, ok := present(v.Field(f.index))
		if !ok {
			continue
		}
		switch f.Location {
		case StatusCode:
			status = int(member.Int())
		case Header:
			f.toHeader(member, h)
		case Headers:
			for _, k := range sortedKeys(member) {
				value, _ := present(member.MapIndex(k))
				h.Set(f.LocationName+k.String(), headerText(value.String()))
			}
		case Body, URI, Querystring:
		}
	}
	return status
}

func (f *field) toHeader(member reflect.Value, h http.Header) {
	format := f.timeFormat()
	if f.node.shape.Type == List {
		items := make([]string, member.Len())
		for i := range items {
			item, _ := present(member.Index(i))
			items[i] = f.node.elem.text(item, format, false)
		}
		h.Set(f.wire(), headerText(strings.Join(items, ",")))
		return
	}
	text := f.node.text(member, format, false)
	if f.JSONValue {
		text = base64.StdEncoding.EncodeToString([]byte(text))
	}
	h.Set(f.wire(), headerText(text))
}

// headerText keeps a value within its header line.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func sortedKeys(m reflect.Value) []reflect.Value {
	return slices.SortedFunc(slices.Values(m.MapKeys()), func(a, b reflect.Value) int {
		return cmp.Compare(a.String(), b.String())
	})
}

func (b *Binding) encodeBody(p *plan, v reflect.Value, requestID string) (body []byte, contentType string) {
	switch b.Service.Protocol {
	case Query:
		return b.queryAnswer(p, v, requestID), "text/xml"
	case RESTXML:
		return b.xmlAnswer(p, v)
	case AWSJSON:
		return appendJSONStructure(nil, p.body, v), "application/x-amz-json-" + cmp.Or(b.Service.JSONVersion, "1.0")
	case RESTJSON:
	}
	if f := p.payload; f != nil {
		member, ok := present(v.Field(f.index))
		switch {
		case !ok:
			return nil, ""
		case f.node.shape.Type == Structure:
			return appendJSONStructure(nil, f.node.fields, member), "application/json"
		default:
			return payloadBytes(member), "application/octet-stream"
		}
	}
	return appendJSONStructure(nil, p.body, v), "application/json"
}

// payloadBytes is a string or blob that is the whole body.
func payloadBytes(member reflect.Value) []byte {
	if member.Kind() == reflect.String {
		return []byte(member.String())
	}
	return member.Bytes()
}

func (b *Binding) queryAnswer(p *plan, v reflect.Value, requestID string) []byte {
	x := xmlWriter{buf: xmlDeclaration()}
	x.open(b.Name+"Response", namespaceAttr("", b.Service.XMLNamespace))
	if b.ResultWrapper != "" {
		x.open(b.ResultWrapper, "")
	}
	x.structure(p.body, v)
	if b.ResultWrapper != "" {
		x.close(b.ResultWrapper)
	}
	x.open("ResponseMetadata", "")
	x.leaf("RequestId", requestID)
	x.close("ResponseMetadata")
	x.close(b.Name + "Response")
	return x.buf
}

func (b *Binding) xmlAnswer(p *plan, v reflect.Value) (body []byte, contentType string) {
	f := p.payload
	if f == nil && len(p.body) == 0 {
		return nil, ""
	}
	x := xmlWriter{millis: b.Service.MillisTime}
	ns := namespaceAttr("", b.Service.XMLNamespace)
	switch {
	case f == nil && b.OutputUnwrapped:
		f = p.body[0]
		text := ""
		if member, ok := present(v.Field(f.index)); ok {
			text = f.node.text(member, f.format, x.millis)
		}
		x.buf = xmlDeclaration()
		x.open(b.OutputRoot, ns)
		x.buf = appendXMLText(x.buf, text)
		x.close(b.OutputRoot)
		return x.buf, "application/xml"
	case f == nil:
		root := cmp.Or(b.OutputRoot, b.Name+"Result")
		x.buf = xmlDeclaration()
		x.element(root, ns, p.body, v)
		return x.buf, "application/xml"
	}
	member, ok := present(v.Field(f.index))
	switch {
	case !ok:
		return nil, ""
	case f.node.shape.Type == Structure:
		x.buf = xmlDeclaration()
		x.element(cmp.Or(f.LocationName, f.node.shape.LocationName, f.Name), ns, f.node.fields, member)
		return x.buf, "application/xml"
	case f.node.shape.Type == String: // the policy of a bucket
		return payloadBytes(member), "application/json"
	default:
		return payloadBytes(member), "application/octet-stream"
	}
}
