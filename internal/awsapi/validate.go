package awsapi

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxViolations = 20   // that a message lists
	maxEcho       = 1024 // bytes of a value that a message repeats
)

// violations collects what breaks the model's constraints, in AWS's words.
type violations struct {
	found    []string
	first    string // the first member concerned
	location Location
	missing  bool // the first one is absent
}

// validate checks a decoded input against the constraints of its shape.
func (p *plan) validate(s *Service, v reflect.Value) error {
	var vs violations
	vs.structure(p.node, v, "", s.Protocol != RESTXML)
	if len(vs.found) == 0 {
		return nil
	}
	noun := "error"
	if len(vs.found) > 1 {
		noun = "errors"
	}
	e := fault(FaultConstraint, vs.first, "%d validation %s detected: %s", len(vs.found), noun, strings.Join(vs.found, "; "))
	if vs.missing {
		e.Fault = FaultMissing
	}
	e.Location = vs.location
	return e
}

func (vs *violations) add(path, value, constraint string) {
	if len(vs.found) < maxViolations {
		vs.found = append(vs.found, "Value"+value+" at '"+path+"' failed to satisfy constraint: "+constraint)
	}
	if vs.first == "" {
		vs.first = path
	}
}

// structure checks the members of v. AWS's messages have member names with a
// small first letter.
func (vs *violations) structure(n *node, v reflect.Value, path string, lower bool) {
	for _, f := range n.fields {
		name := f.Name
		if lower {
			name = f.lower
		}
		if path == "" && len(vs.found) == 0 {
			vs.location = f.Location
		}
		where := join(path, name)
		member, ok := present(v.Field(f.index))
		switch {
		case ok && !f.Streaming:
			vs.value(f.node, member, where, lower)
		case !ok && f.Required && !f.Streaming:
			vs.missing = vs.missing || len(vs.found) == 0
			vs.add(where, " null", "Member must not be null")
		}
	}
}

func (vs *violations) value(n *node, v reflect.Value, path string, lower bool) {
	for _, constraint := range n.broken(v) {
		vs.add(path, n.echo(v), constraint)
	}
	switch n.shape.Type {
	case Structure:
		vs.structure(n, v, path, lower)
	case List:
		vs.elements(n, v, path, lower)
	case Map:
		vs.entries(n, v, path, lower)
	case String, Blob, Boolean, Integer, Long, Double, Timestamp:
	}
}

func (vs *violations) elements(n *node, v reflect.Value, path string, lower bool) {
	for i := range v.Len() {
		item, ok := present(v.Index(i))
		switch {
		case !ok:
		case !n.elem.scalar():
			vs.value(n.elem, item, element(path, i), lower)
		case len(n.elem.broken(item)) > 0:
			vs.add(path, n.echo(v), "Member must satisfy constraint: ["+strings.Join(n.elem.constraints(), ", ")+"]")
			return
		}
	}
}

func (vs *violations) entries(n *node, v reflect.Value, path string, lower bool) {
	keys, values := false, false
	for _, k := range sortedKeys(v) {
		keys = keys || len(n.key.broken(k)) > 0
		item, ok := present(v.MapIndex(k))
		switch {
		case !ok:
		case n.elem.scalar():
			values = values || len(n.elem.broken(item)) > 0
		default:
			vs.value(n.elem, item, path+"."+k.String()+".member", lower)
		}
	}
	if keys {
		vs.add(path, n.echo(v), "Map keys must satisfy constraint: ["+strings.Join(n.key.constraints(), ", ")+"]")
	}
	if values {
		vs.add(path, n.echo(v), "Map value must satisfy constraint: ["+strings.Join(n.elem.constraints(), ", ")+"]")
	}
}

func (n *node) scalar() bool {
	switch n.shape.Type {
	case Structure, List, Map:
		return false
	case String, Blob, Boolean, Integer, Long, Double, Timestamp:
	}
	return true
}

// broken returns the constraints that v itself does not satisfy.
func (n *node) broken(v reflect.Value) []string {
	s := n.shape
	var texts []string
	if size, ok := n.size(v); ok {
		if s.HasMin && size < float64(s.Min) {
			texts = append(texts, n.minText())
		}
		if s.HasMax && size > float64(s.Max) {
			texts = append(texts, n.maxText())
		}
	}
	if n.pattern != nil && !n.pattern.MatchString(v.String()) {
		texts = append(texts, n.patternText())
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v.String()) {
		texts = append(texts, n.enumText())
	}
	return texts
}

// constraints returns all constraints of a scalar.
func (n *node) constraints() []string {
	var texts []string
	if n.shape.HasMax {
		texts = append(texts, n.maxText())
	}
	if n.shape.HasMin {
		texts = append(texts, n.minText())
	}
	if n.pattern != nil {
		texts = append(texts, n.patternText())
	}
	if len(n.shape.Enum) > 0 {
		texts = append(texts, n.enumText())
	}
	return texts
}

// size is what min and max bound.
func (n *node) size(v reflect.Value) (float64, bool) {
	if !n.shape.HasMin && !n.shape.HasMax {
		return 0, false
	}
	switch n.shape.Type {
	case String:
		return float64(utf8.RuneCountInString(v.String())), true
	case Blob, List, Map:
		return float64(v.Len()), true
	case Integer, Long:
		return float64(v.Int()), true
	case Double:
		return v.Float(), true
	case Structure, Boolean, Timestamp:
	}
	return 0, false
}

func (n *node) minText() string {
	return fmt.Sprintf("Member must have %s greater than or equal to %d", n.sizeName(), n.shape.Min)
}

func (n *node) maxText() string {
	return fmt.Sprintf("Member must have %s less than or equal to %d", n.sizeName(), n.shape.Max)
}

func (n *node) sizeName() string {
	switch n.shape.Type {
	case Integer, Long, Double:
		return "value"
	case Structure, List, Map, String, Blob, Boolean, Timestamp:
	}
	return "length"
}

func (n *node) patternText() string {
	return "Member must satisfy regular expression pattern: " + n.shape.Pattern
}

func (n *node) enumText() string {
	return "Member must satisfy enum value set: [" + strings.Join(n.shape.Enum, ", ") + "]"
}

// echo renders a value for a message, with the space before it; what is
// sensitive, or has no short text, is left out.
func (n *node) echo(v reflect.Value) string {
	var text string
	switch n.shape.Type {
	case List, Map:
		if n.elem.shape.Type != String || n.elem.shape.Sensitive {
			return ""
		}
		text = n.echoAll(v)
	case String, Integer, Long, Double:
		text = n.text(v, DefaultTime, false)
	case Structure, Blob, Boolean, Timestamp:
		return ""
	}
	if n.shape.Sensitive {
		return ""
	}
	if len(text) > maxEcho {
		text = strings.ToValidUTF8(text[:maxEcho], "") + "..."
	}
	return " '" + text + "'"
}

// echoAll renders strings as Java prints a list or map of them.
func (n *node) echoAll(v reflect.Value) string {
	var texts []string
	if n.shape.Type == List {
		for i := range v.Len() {
			item, _ := present(v.Index(i))
			texts = append(texts, item.String())
		}
		return "[" + strings.Join(texts, ", ") + "]"
	}
	for _, k := range sortedKeys(v) {
		item, _ := present(v.MapIndex(k))
		texts = append(texts, k.String()+"="+item.String())
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// compilePattern compiles a pattern of the models, which are Java's and match a
// whole value.
func compilePattern(java string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(`^(?:` + translatePattern(java) + `)$`)
	if err != nil {
		return nil, fmt.Errorf("the pattern %s: %w", strconv.Quote(java), err)
	}
	return re, nil
}

// translatePattern writes what Java spells otherwise than Go. Account aliases
// alone need a look-ahead (no two hyphens in a row), written out here.
func translatePattern(java string) string {
	if java == `^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$` {
		return `[a-z0-9]+(?:-[a-z0-9]+)*`
	}
	go_ := strings.NewReplacer(
		`\u10000-\u10FFFF`, `\x{10000}-\x{10FFFF}`,
		`\p{Graph}`, `[:graph:]`, `\p{Upper}`, `[:upper:]`, `\p{Digit}`, `[:digit:]`, `\p{Cntrl}`, `[:cntrl:]`,
	).Replace(java)
	for {
		i := strings.Index(go_, `\u`)
		if i < 0 || len(go_) < i+6 {
			return go_
		}
		go_ = go_[:i] + `\x{` + go_[i+2:i+6] + `}` + go_[i+6:]
	}
}
