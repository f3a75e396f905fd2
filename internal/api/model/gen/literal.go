package main

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"strings"
)

// raw is Go source; an empty one is left out.
type raw string

// field is one field of a composite literal; zero values are left out.
type field struct {
	name  string
	value any
}

type fields []field

func (fs fields) write(b *bytes.Buffer, sep string) {
	first := true
	for _, f := range fs {
		lit := literal(f.value)
		if lit == "" {
			continue
		}
		if !first {
			b.WriteString(sep)
		}
		first = false
		b.WriteString(f.name + ": " + lit)
	}
}

func literal(v any) string {
	switch v := v.(type) {
	case raw:
		return string(v)
	case string:
		if v != "" {
			return quote(v)
		}
	case bool:
		if v {
			return "true"
		}
	case int:
		if v != 0 {
			return strconv.Itoa(v)
		}
	case []string:
		if len(v) > 0 {
			quoted := make([]string, len(v))
			for i, s := range v {
				quoted[i] = quote(s)
			}
			return "[]string{" + strings.Join(quoted, ", ") + "}"
		}
	}
	return ""
}

func quote(s string) string {
	if strings.Contains(s, `\`) && strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

func shapeConst(name string) string { return "shape" + export(name) }

func refLiteral(r *ref) raw {
	lit := "awsapi.Ref{Shape: " + shapeConst(r.Shape)
	if r.LocationName != "" {
		lit += fmt.Sprintf(", LocationName: %q", r.LocationName)
	}
	return raw(lit + "}")
}

func protocol(p string) raw {
	return map[string]raw{"query": "awsapi.Query", "rest-json": "awsapi.RESTJSON", "json": "awsapi.AWSJSON", "rest-xml": "awsapi.RESTXML"}[p]
}

func location(l string) raw {
	return map[string]raw{"uri": "awsapi.URI", "querystring": "awsapi.Querystring", "header": "awsapi.Header", "headers": "awsapi.Headers", "statusCode": "awsapi.StatusCode"}[l]
}

func timeFormat(f string) raw {
	return map[string]raw{"unixTimestamp": "awsapi.UnixTime", "iso8601": "awsapi.ISO8601", "rfc822": "awsapi.RFC822"}[f]
}

func shapeType(t string) string {
	switch t {
	case "character":
		return "String"
	case "float":
		return "Double"
	}
	return export(t)
}

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }
