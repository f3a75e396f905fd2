package awsapi

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
)

// maxElements bounds how many elements an XML body has: ten thousand parts with
// every checksum stay below it.
const maxElements = 128 << 10

// xmlElement is one element, without namespaces: S3's clients set them or not.
type xmlElement struct {
	name  string
	attrs []xml.Attr
	text  []byte
	kids  []*xmlElement
}

// parseXML reads one document. Document types, entities of their own, encodings
// other than UTF-8 and processing instructions are refused.
func parseXML(body []byte) (*xmlElement, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	holder := &xmlElement{}
	stack, count := []*xmlElement{holder}, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, malformedXML()
		}
		top := stack[len(stack)-1]
		switch t := token.(type) {
		case xml.StartElement:
			if count++; count > maxElements || len(stack) > maxDepth {
				return nil, fault(FaultTooLarge, "", "The request body has too many or too deeply nested elements")
			}
			e := &xmlElement{name: t.Name.Local, attrs: t.Attr}
			top.kids = append(top.kids, e)
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if top == holder && len(bytes.TrimSpace(t)) > 0 {
				return nil, malformedXML()
			}
			top.text = append(top.text, t...)
		case xml.Directive:
			return nil, malformedXML()
		case xml.ProcInst:
			if t.Target != "xml" {
				return nil, malformedXML()
			}
		}
	}
	if len(holder.kids) != 1 {
		return nil, malformedXML()
	}
	return holder.kids[0], nil
}

func malformedXML() error {
	return fault(FaultSyntax, "", "The request body is not well-formed XML")
}

// xmlDecoder sets values from elements; strict refuses what no member takes.
type xmlDecoder struct{ strict bool }

func (d xmlDecoder) structure(members []*field, e *xmlElement, v reflect.Value, path string) error {
	taken := map[string]bool{}
	for _, f := range members {
		where := join(path, f.Name)
		if f.XMLAttribute {
			if text, ok := e.attr(f.wire()); ok {
				if err := f.node.setText(v.Field(f.index), text, where, f.format); err != nil {
					return err
				}
			}
			continue
		}
		taken[f.element] = true
		found := e.all(f.element)
		if len(found) == 0 {
			continue
		}
		if err := d.member(f, found, v.Field(f.index), where); err != nil {
			return err
		}
	}
	if len(bytes.TrimSpace(e.text)) > 0 {
		return fault(FaultSyntax, path, "The element %s holds text", e.name)
	}
	if !d.strict {
		return nil
	}
	for _, kid := range e.kids {
		if !taken[kid.name] {
			return fault(FaultSyntax, join(path, kid.name), "The element %s is not expected at '%s'", kid.name, path)
		}
	}
	return nil
}

func (d xmlDecoder) member(f *field, found []*xmlElement, v reflect.Value, path string) error {
	if f.flattened && f.node.shape.Type == List {
		return d.list(f.node, found, v, path)
	}
	if f.flattened && f.node.shape.Type == Map {
		return d.mapping(f.node, found, v, path)
	}
	if len(found) > 1 {
		return fault(FaultSyntax, path, "The element %s is given more than once", f.element)
	}
	return d.value(f.node, found[0], v, path, f.format)
}

// value reads one element.
func (d xmlDecoder) value(n *node, e *xmlElement, v reflect.Value, path string, format TimeFormat) error {
	switch n.shape.Type {
	case Structure:
		return d.structure(n.fields, e, settable(v), path)
	case List:
		items := e.all(cmp.Or(n.shape.Elem.LocationName, "member"))
		if len(items) != len(e.kids) {
			return fault(FaultSyntax, path, "The list at '%s' holds something else", path)
		}
		return d.list(n, items, v, path)
	case Map:
		return d.mapping(n, e.all("entry"), v, path)
	case String, Blob, Boolean, Integer, Long, Double, Timestamp:
	}
	if len(e.kids) > 0 {
		return fault(FaultSyntax, path, "The element at '%s' holds elements", path)
	}
	text := string(e.text)
	if n.shape.Type != String {
		text = strings.TrimSpace(text)
	}
	return n.setText(v, text, path, format)
}

func (d xmlDecoder) list(n *node, items []*xmlElement, v reflect.Value, path string) error {
	list := reflect.MakeSlice(n.typ, len(items), len(items))
	for i, item := range items {
		if err := d.value(n.elem, item, list.Index(i), element(path, i), n.elem.shape.TimeFormat); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (d xmlDecoder) mapping(n *node, entries []*xmlElement, v reflect.Value, path string) error {
	m := reflect.MakeMapWithSize(n.typ, len(entries))
	for i, e := range entries {
		where := element(path, i)
		keys, values := e.all(cmp.Or(n.shape.Key.LocationName, "key")), e.all(cmp.Or(n.shape.Elem.LocationName, "value"))
		if len(keys) != 1 || len(values) != 1 {
			return fault(FaultSyntax, where, "A map entry at '%s' needs one key and one value", where)
		}
		key, val := reflect.New(n.key.typ).Elem(), reflect.New(n.typ.Elem()).Elem()
		if err := d.value(n.key, keys[0], key, where, DefaultTime); err != nil {
			return err
		}
		if err := d.value(n.elem, values[0], val, where, n.elem.shape.TimeFormat); err != nil {
			return err
		}
		m.SetMapIndex(key, val)
	}
	v.Set(m)
	return nil
}

func (e *xmlElement) all(name string) []*xmlElement {
	var found []*xmlElement
	for _, kid := range e.kids {
		if kid.name == name {
			found = append(found, kid)
		}
	}
	return found
}

// attr returns the attribute whose local name is that of a prefixed name.
func (e *xmlElement) attr(name string) (string, bool) {
	_, local, ok := strings.Cut(name, ":")
	if !ok {
		local = name
	}
	for _, a := range e.attrs {
		if a.Name.Local == local {
			return a.Value, true
		}
	}
	return "", false
}
