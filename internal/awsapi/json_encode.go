package awsapi

import (
	"reflect"
	"time"
)

func appendJSONStructure(dst []byte, members []*field, v reflect.Value) []byte {
	dst = append(dst, '{')
	first := true
	for _, f := range members {
		member, ok := present(v.Field(f.index))
		if !ok {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendJSONString(dst, f.wire()), ':')
		dst = appendJSON(dst, f.node, member, f.format)
	}
	return append(dst, '}')
}

func appendJSON(dst []byte, n *node, v reflect.Value, format TimeFormat) []byte {
	switch n.shape.Type {
	case Structure:
		return appendJSONStructure(dst, n.fields, v)
	case List:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSONElement(dst, n.elem, v.Index(i))
		}
		return append(dst, ']')
	case Map:
		dst = append(dst, '{')
		for i, k := range sortedKeys(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(dst, k.String()), ':')
			dst = appendJSONElement(dst, n.elem, v.MapIndex(k))
		}
		return append(dst, '}')
	case Boolean, Integer, Long:
		return append(dst, n.text(v, format, false)...)
	case Double:
		if f := v.Float(); f-f == 0 {
			return append(dst, formatDouble(f)...)
		}
	case Timestamp:
		if format == DefaultTime || format == UnixTime {
			return append(dst, formatTime(v.Interface().(time.Time), UnixTime, false)...)
		}
	case String, Blob:
	}
	return appendJSONString(dst, n.text(v, format, false))
}

func appendJSONElement(dst []byte, n *node, v reflect.Value) []byte {
	item, ok := present(v)
	if !ok {
		return append(dst, "null"...)
	}
	return appendJSON(dst, n, item, n.shape.TimeFormat)
}

func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s { // a byte that is not UTF-8 comes as U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, upperHex[r>>4], upperHex[r&15])
		default:
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}
