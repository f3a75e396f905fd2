package awsapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// parseJSON reads one JSON value: objects as maps, numbers as json.Number.
func parseJSON(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, fault(FaultSyntax, "", "The request body is not valid UTF-8")
	}
	if jsonDepth(body) > maxDepth {
		return nil, fault(FaultTooLarge, "", "The request body nests deeper than %d levels", maxDepth)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, end := d.Token(); errors.Is(end, io.EOF) {
			return v, nil
		}
	}
	return nil, fault(FaultSyntax, "", "The request body is not valid JSON")
}

// jsonDepth returns how deep a JSON text nests, without parsing it.
func jsonDepth(body []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// setJSONStructure sets the given members of v. Unknown names are ignored.
func setJSONStructure(members []*field, value any, v reflect.Value, path string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return wrongJSON(value, Structure, path)
	}
	for _, f := range members {
		raw, ok := object[f.wire()]
		if !ok || raw == nil {
			continue
		}
		if err := f.node.setJSON(v.Field(f.index), raw, join(path, f.Name), f.format); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) setJSON(v reflect.Value, value any, path string, format TimeFormat) error {
	switch n.shape.Type {
	case Structure:
		return setJSONStructure(n.fields, value, settable(v), path)
	case List:
		return n.setJSONList(v, value, path)
	case Map:
		return n.setJSONMap(v, value, path)
	case String, Blob, Boolean, Integer, Long, Double, Timestamp:
	}
	v = settable(v)
	ok := false
	switch value := value.(type) {
	case string:
		ok = n.setJSONString(v, value, format)
	case bool:
		if ok = n.shape.Type == Boolean; ok {
			v.SetBool(value)
		}
	case json.Number:
		ok = n.setJSONNumber(v, string(value), format)
	}
	if !ok {
		return wrongJSON(value, n.shape.Type, path)
	}
	return nil
}

func (n *node) setJSONString(v reflect.Value, s string, format TimeFormat) (ok bool) {
	switch n.shape.Type {
	case String:
		v.SetString(s)
		return true
	case Blob:
		raw, err := base64.StdEncoding.Strict().DecodeString(s)
		v.SetBytes(raw)
		return err == nil
	case Double: // only the values that JSON has no number for
		var f float64
		if f, ok = parseDouble(s); ok && f-f == 0 {
			return false
		}
		v.SetFloat(f)
		return ok
	case Timestamp:
		if format != ISO8601 && format != RFC822 {
			return false
		}
		var t time.Time
		t, ok = parseTime(s, format)
		v.Set(reflect.ValueOf(t))
		return ok
	case Boolean, Integer, Long, Structure, List, Map:
	}
	return false
}

func (n *node) setJSONNumber(v reflect.Value, s string, format TimeFormat) (ok bool) {
	switch n.shape.Type {
	case Integer, Long:
		i, err := strconv.ParseInt(s, 10, v.Type().Bits())
		v.SetInt(i)
		return err == nil
	case Double:
		var f float64
		f, ok = parseDouble(s)
		v.SetFloat(f)
		return ok
	case Timestamp:
		if format != DefaultTime && format != UnixTime {
			return false
		}
		var t time.Time
		t, ok = parseTime(s, UnixTime)
		v.Set(reflect.ValueOf(t))
		return ok
	case String, Blob, Boolean, Structure, List, Map:
	}
	return false
}

func (n *node) setJSONList(v reflect.Value, value any, path string) error {
	items, ok := value.([]any)
	if !ok {
		return wrongJSON(value, List, path)
	}
	list := reflect.MakeSlice(n.typ, len(items), len(items))
	for i, item := range items {
		if item == nil && n.null {
			continue
		}
		if err := n.elem.setJSON(list.Index(i), item, element(path, i), n.elem.shape.TimeFormat); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (n *node) setJSONMap(v reflect.Value, value any, path string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return wrongJSON(value, Map, path)
	}
	m := reflect.MakeMapWithSize(n.typ, len(object))
	for k, item := range object {
		key, val := reflect.ValueOf(k).Convert(n.key.typ), reflect.New(n.typ.Elem()).Elem()
		if item != nil || !n.null {
			if err := n.elem.setJSON(val, item, join(path, k), n.elem.shape.TimeFormat); err != nil {
				return err
			}
		}
		m.SetMapIndex(key, val)
	}
	v.Set(m)
	return nil
}

func wrongJSON(value any, want Type, path string) error {
	got := "NULL_VALUE"
	switch value.(type) {
	case string:
		got = "STRING_VALUE"
	case json.Number:
		got = "NUMBER_VALUE"
	case bool:
		got = "BOOLEAN_VALUE"
	case []any:
		got = "START_ARRAY"
	case map[string]any:
		got = "START_OBJECT"
	}
	if path == "" {
		return fault(FaultType, "", "%s can not be converted to a %s", got, want)
	}
	return fault(FaultType, path, "%s at '%s' can not be converted to a %s", got, path, want)
}

// join appends a member's name to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// element appends a list index to a path, counting from one as AWS does.
func element(path string, i int) string {
	return path + "." + strconv.Itoa(i+1) + ".member"
}
