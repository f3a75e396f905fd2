package policy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// corpusCase is one line of testdata/corpus. Policy is a document, Source the
// text of one that is not JSON, Policies a set; Grants takes their place where
// layers matter. Why names what the case stands for.
type corpusCase struct {
	Name, Why string
	Use       string
	Policy    json.RawMessage
	Source    *string
	Policies  []json.RawMessage
	Grants    *struct {
		Root                        bool
		Identity, Boundary, Session []json.RawMessage
		Resource, Trust             json.RawMessage
	}
	Action, Resource string
	Principal        policy.Principal
	Keys             map[string]keyValue

	Want      string
	Decides   int    // index of the deciding policy of a set
	Statement *int   // the deciding statement
	Sid       string // of the deciding statement
	Layer     policy.Layer
	Message   string   // part of the error
	Explain   []string // parts of the explanation
	Absent    []string // not part of it
}

// keyValue is a string, a list, or {"absent": why}.
type keyValue struct{ policy.Values }

func (v *keyValue) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		v.Values = policy.One(one)
		return nil
	}
	var many []string
	if json.Unmarshal(b, &many) == nil {
		v.Values = policy.Many(many)
		return nil
	}
	var none struct{ Absent string }
	err := json.Unmarshal(b, &none)
	v.Values = policy.Absent(none.Absent)
	return err
}

func readCorpus(tb testing.TB) map[string][]corpusCase {
	tb.Helper()
	files, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil {
		tb.Fatal(err)
	}
	corpus := map[string][]corpusCase{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		var content struct{ Cases []corpusCase }
		if err := json.Unmarshal(b, &content); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		corpus[strings.TrimSuffix(filepath.Base(file), ".json")] = content.Cases
	}
	return corpus
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	total := 0
	for file, cases := range readCorpus(t) {
		total += len(cases)
		for _, c := range cases {
			t.Run(file+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	}
	if total < 300 {
		t.Errorf("%d cases, want at least 300", total)
	}
}

func (c *corpusCase) use() policy.Use {
	for _, u := range []policy.Use{policy.Trust, policy.Resource, policy.IoT} {
		if u.String() == c.Use {
			return u
		}
	}
	return policy.Identity
}

func (c *corpusCase) request() *policy.Request {
	r := &policy.Request{Action: c.Action, Resource: c.Resource, Principal: c.Principal}
	if r.Action == "" {
		r.Action = "s3:GetObject"
	}
	if r.Resource == "" {
		r.Resource = "arn:aws:s3:::bucket/key"
	}
	if c.Keys != nil {
		m := policy.KeyMap{}
		for k, v := range c.Keys {
			m[k] = v.Values
		}
		r.Keys = m
	}
	return r
}

// source is the document of a case with one.
func (c *corpusCase) source() []byte {
	if c.Source != nil {
		return []byte(*c.Source)
	}
	return c.Policy
}

func (c *corpusCase) run(t *testing.T) {
	t.Helper()
	if c.Why == "" {
		t.Fatal("the case does not say what it stands for")
	}
	r := c.request()
	if c.Grants != nil {
		g := c.grants(t)
		c.check(t, g.Authorize(r), g.Explain(r))
		return
	}
	docs := c.Policies
	if docs == nil {
		docs = []json.RawMessage{c.source()}
	}
	var set policy.Set
	for i, doc := range docs {
		name := "test"
		if len(docs) > 1 {
			name = fmt.Sprint("test ", i)
		}
		p, err := policy.Compile(c.use(), name, doc)
		if c.Want == "malformed" {
			if !iot.IsKind(err, iot.KindMalformed) || !strings.Contains(err.Error(), c.Message) {
				t.Fatalf("got %v, want malformed: %s", err, c.Message)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		set = append(set, p)
	}
	d := set.Evaluate(r)
	c.check(t, d, set.Explain(r))
	if d.Policy != nil && d.Policy != set[c.Decides] {
		t.Errorf("%s decided, want %s", d.Policy.Name(), set[c.Decides].Name())
	}
}

func (c *corpusCase) grants(t *testing.T) *policy.Grants {
	t.Helper()
	set := func(use policy.Use, name string, docs []json.RawMessage) policy.Set {
		var s policy.Set
		for i, d := range docs {
			p, err := policy.Compile(use, fmt.Sprint(name, " ", i), d)
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, p)
		}
		return s
	}
	g := &policy.Grants{
		Root:        c.Grants.Root,
		Identity:    set(policy.Identity, "identity", c.Grants.Identity),
		Boundary:    set(policy.Identity, "boundary", c.Grants.Boundary),
		HasBoundary: c.Grants.Boundary != nil,
		Session:     set(policy.Identity, "session", c.Grants.Session),
		HasSession:  c.Grants.Session != nil,
	}
	var err error
	if c.Grants.Resource != nil {
		g.Resource, err = policy.Compile(policy.Resource, "resource", c.Grants.Resource)
	}
	if c.Grants.Trust != nil {
		g.Resource, err = policy.Compile(policy.Trust, "trust", c.Grants.Trust)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (c *corpusCase) check(t *testing.T, d policy.Decision, x policy.Explanation) {
	t.Helper()
	if d.Effect.String() != c.Want {
		t.Errorf("%s: got %s, want %s\n%s", c.Why, d.Effect, c.Want, x)
	}
	if x.Decision != d {
		t.Errorf("explained %v, decided %v", x.Decision, d)
	}
	if c.Statement != nil && d.Statement != *c.Statement {
		t.Errorf("statement %d decided, want %d", d.Statement, *c.Statement)
	}
	if c.Sid != "" && d.Sid() != c.Sid {
		t.Errorf("Sid %q decided, want %q", d.Sid(), c.Sid)
	}
	if c.Layer != "" && x.Layer != c.Layer {
		t.Errorf("layer %s, want %s", x.Layer, c.Layer)
	}
	if x.Reason == "" {
		t.Error("no reason given")
	}
	text := x.String()
	for _, part := range c.Explain {
		if !strings.Contains(text, part) {
			t.Errorf("explanation lacks %q:\n%s", part, text)
		}
	}
	for _, part := range c.Absent {
		if strings.Contains(text, part) {
			t.Errorf("explanation holds %q:\n%s", part, text)
		}
	}
}
