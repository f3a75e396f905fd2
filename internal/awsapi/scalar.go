package awsapi

import (
	"encoding/base64"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// setText reads a scalar that travels as text: in a path, a query, a header, a
// form or XML.
func (n *node) setText(v reflect.Value, text, path string, format TimeFormat) error {
	if !utf8.ValidString(text) {
		return fault(FaultType, path, "Value at '%s' is not valid UTF-8", path)
	}
	v = settable(v)
	ok := true
	switch n.shape.Type {
	case String:
		v.SetString(text)
	case Boolean:
		v.SetBool(text == "true")
		ok = text == "true" || text == "false"
	case Integer, Long:
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(i)
		ok = err == nil
	case Double:
		var f float64
		f, ok = parseDouble(text)
		v.SetFloat(f)
	case Blob:
		raw, err := base64.StdEncoding.Strict().DecodeString(text)
		v.SetBytes(raw)
		ok = err == nil
	case Timestamp:
		var t time.Time
		t, ok = parseTime(text, format)
		v.Set(reflect.ValueOf(t))
	case Structure, List, Map:
		ok = false
	}
	if !ok {
		return fault(FaultType, path, "Value at '%s' is not a valid %s", path, n.shape.Type)
	}
	return nil
}

// String names the type as messages do.
func (t Type) String() string {
	names := [...]string{"none", "structure", "list", "map", "string", "blob", "boolean", "integer", "long", "double", "timestamp"}
	if int(t) < len(names) {
		return names[t]
	}
	return "unknown"
}

// text renders a scalar for a header, a query or XML.
func (n *node) text(v reflect.Value, format TimeFormat, millis bool) string {
	switch n.shape.Type {
	case Boolean:
		return strconv.FormatBool(v.Bool())
	case Integer, Long:
		return strconv.FormatInt(v.Int(), 10)
	case Double:
		return formatDouble(v.Float())
	case Blob:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	case Timestamp:
		return formatTime(v.Interface().(time.Time), format, millis)
	case String, Structure, List, Map:
	}
	return v.String()
}

func parseDouble(s string) (float64, bool) {
	switch s {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	if strings.Trim(s, "+-.0123456789eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func formatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strconv.FormatFloat(f, 'f', -1, 64), "+") + "inity"
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// parseTime accepts one format and the years 0001 to 9999.
func parseTime(s string, format TimeFormat) (time.Time, bool) {
	switch format {
	case RFC822:
		t, err := http.ParseTime(s)
		return t.UTC(), err == nil
	case UnixTime:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || strings.Trim(s, "+-.0123456789eE") != "" {
			return time.Time{}, false
		}
		return unixTime(f)
	case DefaultTime, ISO8601:
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	t = t.UTC()
	return t, err == nil && t.Year() >= 1 && t.Year() <= 9999
}

func unixTime(f float64) (time.Time, bool) {
	const first, last = -62135596800, 253402300799
	if math.IsNaN(f) || f < first || f > last {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), true
}

func formatTime(t time.Time, format TimeFormat, millis bool) string {
	t = t.UTC()
	switch format {
	case UnixTime:
		ms := t.UnixMilli()
		if ms%1000 == 0 {
			return strconv.FormatInt(ms/1000, 10)
		}
		return strconv.FormatFloat(float64(ms)/1000, 'f', 3, 64)
	case RFC822:
		return t.Format(http.TimeFormat)
	case DefaultTime, ISO8601:
	}
	if millis {
		return t.Format("2006-01-02T15:04:05.000Z")
	}
	return t.Format("2006-01-02T15:04:05Z")
}
