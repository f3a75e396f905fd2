package awsapi

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// vectorModule carries AWS's protocol test vectors, which are not ours to copy.
const vectorModule = "github.com/aws/aws-sdk-go@v1.55.8"

// inapplicable lists the vectors that say nothing about a server, by file and
// description.
func inapplicable() map[string]string {
	return map[string]string{
		"output/json: Ignores extra data":                  "an answer with members that no model has",
		"output/json: unmodeled non-json response payload": "an answer that no model has",
		"output/rest-json: Ignores extra data":             "an answer with members that no model has",
		"output/rest-json: Ignores undefined output":       "an answer that no model has",
		"input/rest-xml: Header whitespace":                "header names with spaces are trimmed by the client; a server never sees them",
		"output/query: Not all members in response":        "",
	}
}

// vectorFile is one file of the vectors.
type vectorSuite struct {
	Description string
	Metadata    struct{ APIVersion, JSONVersion, TargetPrefix string }
	Shapes      map[string]*vectorShape
	Cases       []vectorCase
}

type vectorShape struct {
	Type            string
	Members         map[string]*vectorRef
	Payload         string
	Member          *vectorRef
	Key, Value      *vectorRef
	Flattened       bool
	TimestampFormat string
	Location        string
	LocationName    string
	XMLNamespace    vectorNamespace
	ResultWrapper   string
}

type vectorRef struct {
	Shape           string
	Location        string
	LocationName    string
	Flattened       bool
	XMLAttribute    bool
	XMLNamespace    vectorNamespace
	TimestampFormat string
	Streaming       bool
	JSONValue       bool
	ResultWrapper   string
	Payload         string
}

type vectorNamespace struct{ Prefix, URI string }

type vectorCase struct {
	Given struct {
		Name          string
		HTTP          struct{ Method, RequestURI string }
		Input, Output *vectorRef
	}
	Params, Result any
	Serialized     struct {
		Body, URI string
		Headers   map[string]string
	}
	Response struct {
		StatusCode int `json:"status_code"`
		Headers    map[string]string
		Body       string
	}
}

func vectorFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", vectorModule).Output()
	var module struct{ Dir string }
	if err != nil || json.Unmarshal(out, &module) != nil {
		t.Skipf("%s is not in the module cache and cannot be downloaded: %v", vectorModule, err)
	}
	return filepath.Join(module.Dir, "models", "protocol_tests")
}

func protocolOf(file string) Protocol {
	return map[string]Protocol{"query": Query, "rest-json": RESTJSON, "rest-xml": RESTXML, "json": AWSJSON}[file]
}

func TestVectors(t *testing.T) {
	t.Parallel()
	folder := vectorFolder(t)
	for _, direction := range []string{"input", "output"} {
		for _, file := range []string{"query", "rest-json", "rest-xml", "json"} {
			raw, err := os.ReadFile(filepath.Join(folder, direction, file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var suites []vectorSuite
			if err := json.Unmarshal(raw, &suites); err != nil {
				t.Fatal(err)
			}
			for i := range suites {
				suite := &suites[i]
				name := direction + "/" + file + ": " + suite.Description
				for j := range suite.Cases {
					t.Run(fmt.Sprintf("%s/%d", name, j), func(t *testing.T) {
						t.Parallel()
						if why := inapplicable()[name]; why != "" {
							t.Skip(why)
						}
						if direction == "input" {
							suite.input(t, protocolOf(file), &suite.Cases[j])
						} else {
							suite.output(t, protocolOf(file), &suite.Cases[j])
						}
					})
				}
			}
		}
	}
}

// input checks that the decoder reads a serialized request into its params.
func (s *vectorSuite) input(t *testing.T, p Protocol, c *vectorCase) {
	t.Helper()
	svc, m := s.service(p, c)
	b := NewRouter(svc).Binding(c.Given.Name)
	r := httptest.NewRequestWithContext(t.Context(), b.Method, "http://host"+c.Serialized.URI, nil)
	for k, v := range c.Serialized.Headers {
		r.Header.Set(k, v)
	}
	body := []byte(c.Serialized.Body)
	var params PathParams
	if p != AWSJSON || svc.TargetPrefix != "" {
		var err error
		if _, params, err = NewRouter(svc).Match(r, RawPath(r), body); err != nil {
			t.Fatalf("match: %v", err)
		}
	}
	in := reflect.New(m.goType("Input"))
	if err := b.Decode(r, body, params, in.Interface()); err != nil {
		t.Fatalf("decode: %v", err)
	}
	if b.StreamsInput() {
		if err := b.Body(in.Interface(), strings.NewReader(c.Serialized.Body)); err != nil {
			t.Fatal(err)
		}
	}
	got := m.dump("Input", in.Elem())
	if err := compareParams(c.Params, got, ""); err != nil {
		t.Errorf("%v\ngot  %v\nwant %v", err, got, c.Params)
	}
}

// output checks that the encoder writes a result as the given response.
func (s *vectorSuite) output(t *testing.T, p Protocol, c *vectorCase) {
	t.Helper()
	svc, m := s.service(p, c)
	b := NewRouter(svc).Binding(c.Given.Name)
	if c.Given.Output == nil {
		b.Output = 0
	}
	out := reflect.New(reflect.TypeFor[struct{}]())
	if c.Given.Output != nil {
		out = reflect.New(m.goType("Output"))
		m.load("Output", out.Elem(), c.Result)
	}
	w := httptest.NewRecorder()
	if err := b.Encode(w, out.Interface(), "request-id"); err != nil {
		t.Fatal(err)
	}
	if w.Code != c.Response.StatusCode {
		t.Errorf("status %d, want %d", w.Code, c.Response.StatusCode)
	}
	for k, v := range c.Response.Headers {
		if got := w.Header().Get(k); got != v {
			t.Errorf("header %s is %q, want %q", k, got, v)
		}
	}
	got, want := normalBody(t, p, w.Body.String()), normalBody(t, p, c.Response.Body)
	if s.Description == "Scalar members" && p == RESTJSON {
		// The vector has a lenient date; the protocol's default is a number.
		want = strings.Replace(want.(string), `"2015-01-25T08:00:00Z"`, "1422172800", 1)
	}
	if c.Response.Body != "" && got != want {
		t.Errorf("body\n%s\nwant\n%s", got, want)
	}
}

// normalBody makes bodies comparable: JSON with sorted keys, XML as a tree
// whose root's name and request id do not matter.
func normalBody(t *testing.T, p Protocol, body string) any {
	t.Helper()
	switch {
	case body == "":
		return ""
	case p == RESTJSON || p == AWSJSON:
		var v any
		if json.Unmarshal([]byte(body), &v) != nil {
			return body
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	case !strings.HasPrefix(body, "<"):
		return body
	}
	e, err := parseXML([]byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	e.name = "root"
	e.attrs = nil
	return normalXML(e, true)
}

func normalXML(e *xmlElement, top bool) string {
	type kid struct{ name, text string }
	var kids []kid
	for _, k := range e.kids {
		if top && k.name == "RequestId" || k.name == "ResponseMetadata" {
			continue
		}
		kids = append(kids, kid{k.name, normalXML(k, false)})
	}
	slices.SortStableFunc(kids, func(a, b kid) int { // members and map entries have no order, lists have one
		c := strings.Compare(a.name, b.name)
		if c == 0 && (a.name == "entry" || strings.Contains(a.name, "Map")) {
			c = strings.Compare(a.text, b.text)
		}
		return c
	})
	slices.SortFunc(e.attrs, func(a, b xml.Attr) int { return strings.Compare(a.Name.Local, b.Name.Local) })
	text := strings.TrimSpace(string(e.text))
	for _, k := range kids {
		text += k.text
	}
	return fmt.Sprintf("<%s %v>%s</>", e.name, e.attrs, text)
}

// vectorModel is a suite's shapes as ours.
type vectorModel struct {
	suite *vectorSuite
	svc   *Service
	ids   map[string]ShapeID
	names []string
	roots map[string]*vectorRef
}

func (s *vectorSuite) service(p Protocol, c *vectorCase) (*Service, *vectorModel) {
	svc := &Service{Name: "vector", Protocol: p, APIVersion: s.Metadata.APIVersion, JSONVersion: s.Metadata.JSONVersion, TargetPrefix: s.Metadata.TargetPrefix}
	m := &vectorModel{suite: s, svc: svc, ids: map[string]ShapeID{}, roots: map[string]*vectorRef{"Input": c.Given.Input, "Output": c.Given.Output}}
	m.names = append([]string{""}, sortedNames(s.Shapes)...)
	svc.Shapes = make([]Shape, len(m.names))
	svc.Shapes[0].Type = Structure
	for i, name := range m.names[1:] {
		m.ids[name] = ShapeID(i + 1)
	}
	for i, name := range m.names[1:] {
		svc.Shapes[i+1] = m.shape(name)
	}
	op := Operation{Name: c.Given.Name, Method: c.Given.HTTP.Method, URI: c.Given.HTTP.RequestURI, Status: 200, Built: true}
	if op.Method == "" {
		op.Method = http.MethodPost
	}
	if op.URI == "" {
		op.URI = "/"
	}
	if in := c.Given.Input; in != nil {
		op.Input, op.InputRoot, op.InputNamespace = m.ids[in.Shape], in.LocationName, in.XMLNamespace.URI
		if in.Payload != "" {
			svc.Shapes[op.Input].Payload = in.Payload
		}
	}
	if out := c.Given.Output; out != nil {
		op.Output, op.ResultWrapper = m.ids[out.Shape], cmp.Or(out.ResultWrapper, s.Shapes[out.Shape].ResultWrapper)
	}
	svc.Operations = []Operation{op}
	return svc, m
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (m *vectorModel) shape(name string) Shape {
	v := m.suite.Shapes[name]
	types := map[string]Type{
		"structure": Structure, "list": List, "map": Map, "string": String, "character": String, "blob": Blob, "boolean": Boolean,
		"integer": Integer, "long": Long, "float": Double, "double": Double, "timestamp": Timestamp,
	}
	s := Shape{
		Name: name, Type: types[v.Type], Payload: v.Payload, Flattened: v.Flattened, TimeFormat: vectorTime(v.TimestampFormat),
		LocationName: v.LocationName, XMLPrefix: v.XMLNamespace.Prefix, XMLNamespace: v.XMLNamespace.URI,
	}
	switch s.Type {
	case Structure:
		for _, n := range sortedNames(v.Members) {
			s.Members = append(s.Members, m.member(n, v.Members[n]))
		}
	case List:
		s.Elem = Ref{m.ids[v.Member.Shape], v.Member.LocationName}
	case Map:
		s.Key, s.Elem = Ref{m.ids[v.Key.Shape], v.Key.LocationName}, Ref{m.ids[v.Value.Shape], v.Value.LocationName}
	case String, Blob, Boolean, Integer, Long, Double, Timestamp:
	}
	return s
}

func (m *vectorModel) member(name string, r *vectorRef) Member {
	locations := map[string]Location{"": Body, "uri": URI, "querystring": Querystring, "header": Header, "headers": Headers, "statusCode": StatusCode}
	target := m.suite.Shapes[r.Shape]
	location, locationName := r.Location, r.LocationName
	if location == "" && target.Location != "" { // vectors put it on the shape too
		location = target.Location
		if locationName == "" {
			locationName = target.LocationName
		}
	}
	return Member{
		Name: name, Field: strings.ToUpper(name[:1]) + name[1:], Shape: m.ids[r.Shape], Location: locations[location], LocationName: locationName,
		Flattened: r.Flattened, XMLAttribute: r.XMLAttribute, XMLPrefix: r.XMLNamespace.Prefix, XMLNamespace: r.XMLNamespace.URI,
		TimeFormat: vectorTime(r.TimestampFormat), Streaming: r.Streaming, JSONValue: r.JSONValue,
	}
}

func vectorTime(f string) TimeFormat {
	return map[string]TimeFormat{"": DefaultTime, "unixTimestamp": UnixTime, "iso8601": ISO8601, "rfc822": RFC822}[f]
}

// recursiveStruct is the one recursive shape of the vectors, which no type made
// at run time can be.
type recursiveStruct struct {
	NoRecurse       *string
	RecursiveStruct *recursiveStruct
	RecursiveList   []recursiveStruct
	RecursiveMap    map[string]recursiveStruct
}

func (m *vectorModel) goType(root string) reflect.Type {
	if m.roots[root] == nil {
		return reflect.TypeFor[struct{}]()
	}
	return m.typeOf(m.ids[m.roots[root].Shape])
}

func (m *vectorModel) typeOf(id ShapeID) reflect.Type {
	s := &m.svc.Shapes[id]
	switch s.Type {
	case Structure:
		if s.Name == "RecursiveStructType" {
			return reflect.TypeFor[recursiveStruct]()
		}
		var fields []reflect.StructField
		for _, mm := range s.Members {
			f := reflect.StructField{Name: mm.Field, Type: m.memberType(mm.Shape)}
			if mm.Streaming {
				f.Type = reflect.TypeFor[io.Reader]()
			}
			fields = append(fields, f)
		}
		return reflect.StructOf(fields)
	case List:
		return reflect.SliceOf(m.memberType(s.Elem.Shape))
	case Map:
		return reflect.MapOf(reflect.TypeFor[string](), m.memberType(s.Elem.Shape))
	case String:
		return reflect.TypeFor[string]()
	case Blob:
		return reflect.TypeFor[[]byte]()
	case Boolean:
		return reflect.TypeFor[bool]()
	case Integer:
		return reflect.TypeFor[int32]()
	case Long:
		return reflect.TypeFor[int64]()
	case Double:
		return reflect.TypeFor[float64]()
	case Timestamp:
		return reflect.TypeFor[time.Time]()
	}
	panic("unknown type")
}

// memberType is a pointer but for what has a nil of its own; elements too, so
// that they can be null.
func (m *vectorModel) memberType(id ShapeID) reflect.Type {
	t := m.typeOf(id)
	switch t.Kind() { //nolint:exhaustive // all others
	case reflect.Slice, reflect.Map:
		return t
	}
	return reflect.PointerTo(t)
}

// dump turns a decoded value into what the vectors' params look like.
func (m *vectorModel) dump(root string, v reflect.Value) any {
	if m.roots[root] == nil {
		return nil
	}
	return m.dumpValue(m.ids[m.roots[root].Shape], v)
}

func (m *vectorModel) dumpValue(id ShapeID, v reflect.Value) any {
	v, ok := present(v)
	if !ok {
		return nil
	}
	s := &m.svc.Shapes[id]
	switch s.Type {
	case Structure:
		out := map[string]any{}
		for _, mm := range s.Members {
			f := v.FieldByName(mm.Field)
			if r, ok := reflect.TypeAssert[io.Reader](f); ok && r != nil {
				raw, _ := io.ReadAll(r)
				out[mm.Name] = string(raw)
			} else if d := m.dumpValue(mm.Shape, f); d != nil {
				out[mm.Name] = d
			}
		}
		return out
	case List:
		out := []any{}
		for i := range v.Len() {
			out = append(out, m.dumpValue(s.Elem.Shape, v.Index(i)))
		}
		return out
	case Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[k.String()] = m.dumpValue(s.Elem.Shape, v.MapIndex(k))
		}
		return out
	case Blob:
		return string(v.Bytes())
	case Integer, Long:
		return float64(v.Int())
	case Timestamp:
		return float64(v.Interface().(time.Time).Unix())
	case String, Boolean, Double:
	}
	return v.Interface()
}

// load fills v from a vector's result.
func (m *vectorModel) load(root string, v reflect.Value, value any) {
	m.loadValue(m.ids[m.roots[root].Shape], v, value)
}

func (m *vectorModel) loadValue(id ShapeID, v reflect.Value, value any) {
	if value == nil {
		return
	}
	v = settable(v)
	s := &m.svc.Shapes[id]
	switch s.Type {
	case Structure:
		for _, mm := range s.Members {
			f, item := v.FieldByName(mm.Field), value.(map[string]any)[mm.Name]
			if text, ok := item.(string); ok && mm.Streaming {
				f.Set(reflect.ValueOf(strings.NewReader(text)))
				continue
			}
			m.loadValue(mm.Shape, f, item)
		}
	case List:
		items := value.([]any)
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i, item := range items {
			m.loadValue(s.Elem.Shape, v.Index(i), item)
		}
	case Map:
		v.Set(reflect.MakeMap(v.Type()))
		for k, item := range value.(map[string]any) {
			e := reflect.New(v.Type().Elem()).Elem()
			m.loadValue(s.Elem.Shape, e, item)
			v.SetMapIndex(reflect.ValueOf(k), e)
		}
	case String:
		if text, ok := value.(string); ok {
			v.SetString(text)
		} else { // a JSON value
			raw, _ := json.Marshal(value)
			v.SetString(string(raw))
		}
	case Blob:
		v.SetBytes([]byte(value.(string)))
	case Boolean:
		v.SetBool(value.(bool))
	case Integer, Long:
		v.SetInt(int64(value.(float64)))
	case Double:
		v.SetFloat(value.(float64))
	case Timestamp:
		sec, frac := math.Modf(value.(float64))
		v.Set(reflect.ValueOf(time.Unix(int64(sec), int64(frac*1e9)).UTC()))
	}
}

// compareParams compares a vector's params with what was decoded. A token that
// the client made up and an empty payload count as absent, a JSON value arrives
// as its text.
func compareParams(want, got any, path string) error {
	if text, ok := got.(string); ok {
		if _, isText := want.(string); !isText && want != nil && json.Unmarshal([]byte(text), &got) != nil {
			return fmt.Errorf("%s: %q is not JSON", path, text)
		}
	}
	if want == nil && fmt.Sprint(got) == "map[]" || got == nil && fmt.Sprint(want) == "map[]" && path == "" {
		return nil
	}
	w, ok := want.(map[string]any)
	g, gok := got.(map[string]any)
	if list, isList := want.([]any); isList {
		items, _ := got.([]any)
		if len(items) != len(list) {
			return fmt.Errorf("%s: %d items, want %d", path, len(items), len(list))
		}
		for i := range list {
			if err := compareParams(list[i], items[i], fmt.Sprint(path, ".", i)); err != nil {
				return err
			}
		}
		return nil
	}
	if !ok && !gok {
		if !reflect.DeepEqual(want, got) {
			return fmt.Errorf("%s: %v, want %v", path, got, want)
		}
		return nil
	}
	if want != nil && ok != gok {
		return fmt.Errorf("%s: %v, want %v", path, got, want)
	}
	for k := range g {
		if _, known := w[k]; !known && fmt.Sprint(g[k]) != "map[]" && fmt.Sprint(g[k]) != "00000000-0000-4000-8000-000000000000" {
			return fmt.Errorf("%s.%s is not wanted: %v", path, k, g[k])
		}
	}
	for k := range w {
		if err := compareParams(w[k], g[k], path+"."+k); err != nil {
			return err
		}
	}
	return nil
}
