package awsapi

import (
	"cmp"
	"reflect"
	"strconv"
	"strings"
)

// xmlWriter appends elements.
type xmlWriter struct {
	buf    []byte
	millis bool
}

func xmlDeclaration() []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
}

func namespaceAttr(prefix, uri string) string {
	switch {
	case uri == "":
		return ""
	case prefix == "":
		return ` xmlns="` + uri + `"`
	}
	return " xmlns:" + prefix + `="` + uri + `"`
}

func (x *xmlWriter) open(name, attrs string) {
	x.buf = append(x.buf, "<"+name+attrs+">"...)
}

func (x *xmlWriter) close(name string) {
	x.buf = append(x.buf, "</"+name+">"...)
}

func (x *xmlWriter) leaf(name, text string) {
	x.open(name, "")
	x.buf = appendXMLText(x.buf, text)
	x.close(name)
}

// element writes a structure with its attributes.
func (x *xmlWriter) element(name, attrs string, members []*field, v reflect.Value) {
	for _, f := range members {
		if member, ok := present(v.Field(f.index)); ok && f.XMLAttribute {
			attrs += " " + f.wire() + `="` + string(appendXMLText(nil, f.node.text(member, f.format, x.millis))) + `"`
		}
	}
	x.open(name, attrs)
	x.structure(members, v)
	x.close(name)
}

func (x *xmlWriter) structure(members []*field, v reflect.Value) {
	for _, f := range members {
		member, ok := present(v.Field(f.index))
		if !ok || f.XMLAttribute {
			continue
		}
		attrs := namespaceAttr(f.XMLPrefix, f.XMLNamespace)
		switch {
		case f.flattened && f.node.shape.Type == List:
			x.items(f.element, f.node, member)
		case f.flattened && f.node.shape.Type == Map:
			x.entries(f.element, f.node, member)
		default:
			x.value(f.element, attrs, f.node, member, f.format)
		}
	}
}

func (x *xmlWriter) value(name, attrs string, n *node, v reflect.Value, format TimeFormat) {
	switch n.shape.Type {
	case Structure:
		x.element(name, attrs+namespaceAttr(n.shape.XMLPrefix, n.shape.XMLNamespace), n.fields, v)
	case List:
		x.open(name, attrs)
		x.items(cmp.Or(n.shape.Elem.LocationName, "member"), n, v)
		x.close(name)
	case Map:
		x.open(name, attrs)
		x.entries("entry", n, v)
		x.close(name)
	case String, Blob, Boolean, Integer, Long, Double, Timestamp:
		x.open(name, attrs)
		x.buf = appendXMLText(x.buf, n.text(v, format, x.millis))
		x.close(name)
	}
}

func (x *xmlWriter) items(name string, n *node, v reflect.Value) {
	for i := range v.Len() {
		if item, ok := present(v.Index(i)); ok {
			x.value(name, "", n.elem, item, n.elem.shape.TimeFormat)
		}
	}
}

func (x *xmlWriter) entries(name string, n *node, v reflect.Value) {
	for _, k := range sortedKeys(v) {
		x.open(name, "")
		x.leaf(cmp.Or(n.shape.Key.LocationName, "key"), k.String())
		if item, ok := present(v.MapIndex(k)); ok {
			x.value(cmp.Or(n.shape.Elem.LocationName, "value"), "", n.elem, item, n.elem.shape.TimeFormat)
		}
		x.close(name)
	}
}

// appendXMLText escapes text for content and attributes. A carriage return and
// the control characters are written as references, as S3 does: a parser would
// turn the one into a line feed, and XML 1.0 has no other way for the rest.
func appendXMLText(dst []byte, s string) []byte {
	for _, r := range s { // a byte that is not UTF-8 comes as U+FFFD
		switch {
		case r == '&':
			dst = append(dst, "&amp;"...)
		case r == '<':
			dst = append(dst, "&lt;"...)
		case r == '>':
			dst = append(dst, "&gt;"...)
		case r == '"':
			dst = append(dst, "&quot;"...)
		case r < ' ' && r != '\t' && r != '\n', r == 0x7f, r == 0x85, r == 0x2028, r == 0xfffe, r == 0xffff:
			dst = append(dst, "&#x"...)
			dst = append(dst, strings.ToUpper(strconv.FormatInt(int64(r), 16))...)
			dst = append(dst, ';')
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}
