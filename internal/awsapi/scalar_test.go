package awsapi

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	t.Parallel()
	if Query.String() != "query" || RESTXML.String() != "rest-xml" || Protocol(9).String() != "unknown" {
		t.Error("protocol names")
	}
	if Structure.String() != "structure" || Timestamp.String() != "timestamp" || Type(99).String() != "unknown" {
		t.Error("type names")
	}
}

func TestDoubles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"1": 1, "-1.5e3": -1500, "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)} {
		if got, ok := parseDouble(text); !ok || got != want {
			t.Errorf("%s: %v %t", text, got, ok)
		}
	}
	if got, ok := parseDouble("NaN"); !ok || !math.IsNaN(got) {
		t.Errorf("NaN: %v", got)
	}
	for _, text := range []string{"", "inf", "nan", "0x1p4", "1_0", "1e999", "one", "1.2.3", "e"} {
		if got, ok := parseDouble(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
	for want, f := range map[string]float64{"0.1": 0.1, "1000000000000000000000": 1e21, "NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)} {
		if got := formatDouble(f); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	day := time.Date(2015, 1, 25, 8, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		text   string
		format TimeFormat
		want   time.Time
	}{
		{"2015-01-25T08:00:00Z", ISO8601, day},
		{"2015-01-25T08:00:00.250Z", DefaultTime, day.Add(250 * time.Millisecond)},
		{"2015-01-25T09:00:00+01:00", ISO8601, day},
		{"Sun, 25 Jan 2015 08:00:00 GMT", RFC822, day},
		{"1422172800", UnixTime, day},
		{"1422172800.25", UnixTime, day.Add(250 * time.Millisecond)},
		{"1.4221728e9", UnixTime, day},
	} {
		if got, ok := parseTime(tt.text, tt.format); !ok || !got.Equal(tt.want) {
			t.Errorf("%s: %v %t", tt.text, got, ok)
		}
	}
	for text, format := range map[string]TimeFormat{
		"2015-01-25": ISO8601, "2015-01-25T08:00:00": ISO8601, "0000-01-01T00:00:00Z": ISO8601, "9999-12-31T23:59:59-01:00": ISO8601,
		"1e12": UnixTime, "-1e12": UnixTime, "NaN": UnixTime, "0x10": UnixTime, "": RFC822,
	} {
		if got, ok := parseTime(text, format); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
	if _, ok := unixTime(math.NaN()); ok {
		t.Error("NaN is a time")
	}
	half := day.Add(500*time.Millisecond + 7)
	for _, tt := range []struct {
		t      time.Time
		format TimeFormat
		millis bool
		want   string
	}{
		{day, UnixTime, false, "1422172800"},
		{half, UnixTime, false, "1422172800.500"},
		{half, RFC822, false, "Sun, 25 Jan 2015 08:00:00 GMT"},
		{half, ISO8601, false, "2015-01-25T08:00:00Z"},
		{half, DefaultTime, true, "2015-01-25T08:00:00.500Z"},
	} {
		if got := formatTime(tt.t, tt.format, tt.millis); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

func TestNodesWithoutText(t *testing.T) {
	t.Parallel()
	for _, shape := range []Type{Structure, List, Map} {
		n := node{shape: &Shape{Type: shape}}
		wantFault(t, n.setText(reflect.ValueOf(new(string)).Elem(), "x", "Member", DefaultTime), FaultType, "Member")
	}
	n := node{shape: &Shape{Type: Boolean, HasMin: true, Min: 1}}
	if got := n.broken(reflect.ValueOf(false)); got != nil {
		t.Errorf("a boolean has no size: %v", got)
	}
}
