package awsapi

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep a message nests.
const maxDepth = 64

// Decode reads a request into in, a pointer to the operation's input struct.
// The body is given apart, since whoever checks the signature has read it; for
// a streaming operation it is ignored and the member stays nil. Every error but
// a wrong in is a *DecodeError.
func (b *Binding) Decode(r *http.Request, body []byte, params PathParams, in any) error {
	p, v, err := b.plan(&b.in, b.Input, in)
	if err != nil {
		return err
	}
	if limit := b.MaxBody(); int64(len(body)) > limit {
		return tooLarge(limit)
	}
	if b.Service.Protocol == Query {
		form, err := parseForm(r, body)
		if err != nil {
			return err
		}
		if err := form.structure(p.node, v, ""); err != nil {
			return err
		}
		return p.validate(b.Service, v)
	}
	if len(p.rest) > 0 {
		if err := b.decodeRest(p, v, r, params); err != nil {
			return err
		}
	}
	if err := b.decodeBody(p, v, body); err != nil {
		return err
	}
	return p.validate(b.Service, v)
}

func (b *Binding) decodeBody(p *plan, v reflect.Value, body []byte) error {
	switch f := p.payload; {
	case f == nil && len(p.body) == 0:
		return nil
	case f == nil:
		return b.decodeDocument(p.body, v, body, b.InputRoot, "")
	case f.Streaming || len(body) == 0:
		return nil
	case f.node.shape.Type == Structure:
		root := f.LocationName
		if root == "" {
			root = f.node.shape.LocationName
		}
		if root == "" && b.Service.StrictXML {
			root = f.Name
		}
		member := settable(v.Field(f.index))
		return b.decodeDocument(f.node.fields, member, body, root, f.Name)
	case f.node.shape.Type == Blob:
		v.Field(f.index).SetBytes(body)
		return nil
	default:
		return located(f.node.setText(v.Field(f.index), string(body), f.Name, DefaultTime), f.Location)
	}
}

// decodeDocument reads a JSON or XML body into the given members of v.
func (b *Binding) decodeDocument(members []*field, v reflect.Value, body []byte, root, path string) error {
	if len(body) == 0 {
		return nil
	}
	if b.Service.Protocol == RESTXML {
		e, err := parseXML(body)
		if err != nil {
			return err
		}
		if root != "" && e.name != root {
			return fault(FaultSyntax, path, "The root element is %s, not %s", e.name, root)
		}
		d := xmlDecoder{strict: b.Service.StrictXML}
		return d.structure(members, e, v, path)
	}
	value, err := parseJSON(body)
	if err != nil {
		return err
	}
	return setJSONStructure(members, value, v, path)
}

// decodeRest reads the members that travel in the path, the query and headers.
func (b *Binding) decodeRest(p *plan, v reflect.Value, r *http.Request, params PathParams) error {
	pairs, err := parseQuery(RawQuery(r))
	if err != nil {
		return malformedQuery()
	}
	for _, f := range p.rest {
		member := v.Field(f.index)
		var err error
		switch f.Location {
		case URI:
			if text, ok := params.Get(f.wire()); ok {
				err = f.node.setText(member, text, f.Name, f.timeFormat())
			}
		case Querystring:
			err = f.fromQuery(member, pairs, b.URI)
		case Header:
			err = f.fromHeader(member, r.Header[f.canonical])
		case Headers:
			err = f.fromHeaders(member, r.Header)
		case StatusCode, Body:
		}
		if err != nil {
			return located(err, f.Location)
		}
	}
	return nil
}

func malformedQuery() error {
	return located(fault(FaultSyntax, "", "The query string is not valid percent-encoding"), Querystring)
}

// located adds to a member's error where the member travels.
func located(err error, l Location) error {
	if e, ok := err.(*DecodeError); ok { //nolint:errorlint // made here, never wrapped
		e.Location = l
	}
	return err
}

// fromQuery reads a scalar, a list of all values of one name, or a map of what
// no other member takes.
func (f *field) fromQuery(member reflect.Value, pairs []queryPair, uri string) error {
	if f.node.shape.Type == Map {
		return f.queryMap(member, pairs, uri)
	}
	var values []string
	for _, p := range pairs {
		if p.name == f.wire() {
			values = append(values, p.value)
		}
	}
	if len(values) == 0 {
		return nil
	}
	if f.node.shape.Type == List {
		return f.node.setTexts(member, values, f.Name, f.timeFormat())
	}
	if len(values) > 1 {
		return fault(FaultSyntax, f.Name, "The query parameter %s is given more than once", f.wire())
	}
	return f.node.setText(member, values[0], f.Name, f.timeFormat())
}

func (n *node) setTexts(member reflect.Value, values []string, path string, format TimeFormat) error {
	list := reflect.MakeSlice(n.typ, len(values), len(values))
	for i, s := range values {
		if err := n.elem.setText(list.Index(i), s, path, format); err != nil {
			return err
		}
	}
	member.Set(list)
	return nil
}

func (f *field) queryMap(member reflect.Value, pairs []queryPair, uri string) error {
	_, literals := splitTemplate(uri)
	m := reflect.MakeMap(f.node.typ)
	byName := map[string][]string{}
	for _, p := range pairs {
		if !slices.ContainsFunc(literals, func(l literal) bool { return l.key == p.name }) {
			byName[p.name] = append(byName[p.name], p.value)
		}
	}
	elem := f.node.elem
	for name, values := range byName {
		key, value := reflect.New(f.node.key.typ).Elem(), reflect.New(f.node.typ.Elem()).Elem()
		err := f.node.key.setText(key, name, f.Name, DefaultTime)
		if err == nil && elem.shape.Type == List {
			err = elem.setTexts(value, values, f.Name, ISO8601)
		} else if err == nil {
			err = elem.setText(value, values[0], f.Name, ISO8601)
		}
		if err != nil {
			return err
		}
		m.SetMapIndex(key, value)
	}
	member.Set(m)
	return nil
}

func (f *field) fromHeader(member reflect.Value, values []string) error {
	if len(values) == 0 {
		return nil
	}
	if f.node.shape.Type == List {
		var all []string
		for _, v := range values {
			for item := range strings.SplitSeq(v, ",") {
				if item = strings.Trim(item, " \t"); item != "" {
					all = append(all, item)
				}
			}
		}
		return f.node.setTexts(member, all, f.Name, f.timeFormat())
	}
	text := strings.Trim(strings.Join(values, ","), " \t") // as they are signed
	if f.JSONValue {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !json.Valid(raw) || !utf8.Valid(raw) {
			return fault(FaultType, f.Name, "Value at '%s' is not JSON in base64", f.Name)
		}
		text = string(raw)
	}
	err := f.node.setText(member, text, f.Name, f.timeFormat())
	if err != nil && f.node.shape.Type == Timestamp && strings.HasPrefix(f.canonical, "If-") {
		member.SetZero() // RFC 9110, section 13.1.3: a date that is none is ignored
		return nil
	}
	return err
}

// fromHeaders collects every header with the member's prefix. Names are lower
// case, as S3 keeps them.
func (f *field) fromHeaders(member reflect.Value, h http.Header) error {
	m, prefix := reflect.MakeMap(f.node.typ), strings.ToLower(f.LocationName)
	for name, values := range h {
		suffix, ok := strings.CutPrefix(strings.ToLower(name), prefix)
		if !ok || suffix == "" {
			continue
		}
		key, value := reflect.New(f.node.key.typ).Elem(), reflect.New(f.node.typ.Elem()).Elem()
		key.SetString(suffix)
		if err := f.node.elem.setText(value, strings.Trim(strings.Join(values, ","), " \t"), f.Name, RFC822); err != nil {
			return err
		}
		m.SetMapIndex(key, value)
	}
	if m.Len() > 0 {
		member.Set(m)
	}
	return nil
}

// Body sets the streaming member of in, if the operation has one, to r.
func (b *Binding) Body(in any, r io.Reader) error {
	p, v, err := b.plan(&b.in, b.Input, in)
	if err != nil {
		return err
	}
	if p.payload != nil && p.payload.Streaming {
		v.Field(p.payload.index).Set(reflect.ValueOf(&r).Elem())
	}
	return nil
}
