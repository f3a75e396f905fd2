package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// Script is one script.
type Script struct {
	File, Name string
	Line       int
	Profile    string            // "aws", "standard" or "" for both
	Versions   []mqtt.Version    // that it runs in
	V3, V5     []string          // statements, as "3.1.2-4"
	Paho       []string          // cases of paho.mqtt.testing
	Limits     map[string]int    // by the names of the limit header
	Others     map[string]string // "mosquitto", "mosquitto-5": what differs
	steps      []step
}

// step is one line of a script.
type step struct {
	line   int
	text   string
	when   []string // conditions, all of which must hold
	client string   // "" for clock and restart
	verb   string
	args   []arg
}

// arg is one argument: a value by its place has no name, a flag no value.
type arg struct {
	name, value string
}

// Load reads the scripts of a folder, in the order of their files.
func Load(fsys fs.FS) ([]Script, error) {
	names, err := fs.Glob(fsys, "*.txt")
	if err != nil {
		return nil, err
	}
	var all []Script
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		scripts, err := Parse(name, data)
		if err != nil {
			return nil, err
		}
		all = append(all, scripts...)
	}
	if len(all) == 0 {
		return nil, errors.New("no scripts")
	}
	return all, nil
}

// Parse reads the scripts of one file.
func Parse(file string, data []byte) ([]Script, error) {
	var all []Script
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "//") {
			continue
		}
		if name, ok := strings.CutPrefix(text, "== "); ok {
			all = append(all, Script{File: path.Base(file), Name: name, Line: n, Versions: []mqtt.Version{mqtt.V311, mqtt.V5}})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s:%d: a line before the first script", file, n)
		}
		if err := all[len(all)-1].add(n, text); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", file, n, text, err)
		}
	}
	return all, lines.Err()
}

// Title names the script in reports.
func (s *Script) Title() string { return s.File + " " + s.Name }

// Runs reports whether the script is for the profile.
func (s *Script) Runs(profile string) bool { return s.Profile == "" || s.Profile == profile }

// Other returns how another broker differs in a version: "" for not at all.
func (s *Script) Other(broker string, v mqtt.Version) string {
	if note, ok := s.Others[broker+"-"+v.String()]; ok {
		return note
	}
	return s.Others[broker]
}

// add takes in one line.
func (s *Script) add(n int, text string) error {
	key, value, ok := strings.Cut(text, ": ")
	if ok && len(s.steps) == 0 && !strings.Contains(key, " ") {
		return s.header(key, strings.TrimSpace(value))
	}
	st, err := parseStep(text)
	st.line = n
	s.steps = append(s.steps, st)
	return err
}

func (s *Script) header(key, value string) error {
	switch key {
	case "profile":
		s.Profile = value
	case "version":
		v := map[string]mqtt.Version{"3.1.1": mqtt.V311, "5": mqtt.V5}[value]
		if v == 0 {
			return errors.New("no such version")
		}
		s.Versions = []mqtt.Version{v}
	case "v3":
		s.V3 = append(s.V3, strings.Fields(value)...)
	case "v5":
		s.V5 = append(s.V5, strings.Fields(value)...)
	case "paho":
		s.Paho = append(s.Paho, strings.Fields(value)...)
	case "limit":
		return s.limits(value)
	case "mosquitto", "mosquitto-3.1.1", "mosquitto-5":
		if kind, reason, _ := strings.Cut(value, ": "); kind != "differs" && kind != "skip" || reason == "" {
			return errors.New("neither differs nor skip with a reason")
		}
		if s.Others == nil {
			s.Others = map[string]string{}
		}
		s.Others[key] = value
	default:
		return errors.New("no such header")
	}
	return nil
}

func (s *Script) limits(value string) error {
	if s.Limits == nil {
		s.Limits = map[string]int{}
	}
	for pair := range strings.FieldsSeq(value) {
		name, number, _ := strings.Cut(pair, "=")
		n, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		s.Limits[name] = n
	}
	return nil
}

func parseStep(text string) (st step, err error) {
	st.text = text
	if rest, ok := strings.CutPrefix(text, "["); ok {
		cond, after, found := strings.Cut(rest, "] ")
		if !found {
			return st, errors.New("no end of the condition")
		}
		st.when, text = strings.Split(cond, ","), after
	}
	words, err := split(text)
	if err != nil {
		return st, err
	}
	if first := words[0].value; first == "clock" || first == "restart" {
		st.verb, st.args = first, words[1:]
		return st, nil
	}
	if len(words) < 2 {
		return st, errors.New("a client without an operation")
	}
	st.client, st.verb, st.args = words[0].value, words[1].value, words[2:]
	if st.verb == ">" && len(st.args) > 0 && st.args[0].value == "raw" {
		_, hex, _ := strings.Cut(text, "raw")
		st.args = []arg{{value: "raw"}, {value: strings.TrimSpace(hex)}}
	}
	return st, nil
}

// flagNames are the arguments that have no value.
func flagNames() []string { return []string{"dup", "retain", "nl", "rap"} }

// split takes a line apart into its arguments.
func split(text string) ([]arg, error) {
	var out []arg
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		var a arg
		var err error
		if i := strings.IndexAny(text, " \"="); i > 0 && text[i] == '=' {
			a.name, text = text[:i], text[i+1:]
			a.value, text, err = value(text)
		} else {
			quoted := text[0] == '"'
			a.value, text, err = value(text)
			if !quoted && slices.Contains(flagNames(), a.value) {
				a.name, a.value = a.value, "1"
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// value reads one value: quoted as in Go, or up to the next space and with ~n
// for so many letters x.
func value(text string) (v, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", err
		}
		v, err = strconv.Unquote(quoted)
		return v, text[len(quoted):], err
	}
	v, rest, _ = strings.Cut(text, " ")
	for i := strings.IndexByte(v, '~'); i >= 0; i = strings.IndexByte(v, '~') {
		digits := v[i+1:]
		digits = digits[:len(digits)-len(strings.TrimLeft(digits, "0123456789"))]
		n, err := strconv.Atoi(digits)
		if err != nil {
			return "", "", err
		}
		v = v[:i] + strings.Repeat("x", n) + v[i+1+len(digits):]
	}
	return v, rest, nil
}
