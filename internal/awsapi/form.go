package awsapi

import (
	"cmp"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// form is the tree of a query request's parameters: Tags.member.1.Key.
type form struct {
	value string
	set   bool
	kids  map[string]*form
}

const (
	maxFormDepth  = 32
	maxFormParams = 8192
)

// parseForm reads the parameters of the query string and, of a POST, the body.
// Those of a presigned URL are left out; a name given twice is refused.
func parseForm(r *http.Request, body []byte) (*form, error) {
	sources := []string{RawQuery(r)}
	if r.Method == http.MethodPost {
		sources = append(sources, string(body))
	}
	root := &form{}
	count := 0
	for _, raw := range sources {
		if count += strings.Count(raw, "&"); count > maxFormParams {
			return nil, fault(FaultTooLarge, "", "The request has more than %d parameters", maxFormParams)
		}
		pairs, err := parseQuery(raw)
		if err != nil {
			return nil, fault(FaultSyntax, "", "The request parameters are not valid percent-encoding")
		}
		for _, p := range pairs {
			if strings.HasPrefix(p.name, "X-Amz-") {
				continue
			}
			if err := root.add(p.name, p.value); err != nil {
				return nil, err
			}
		}
	}
	return root, nil
}

func (f *form) add(name, value string) error {
	if strings.Count(name, ".") >= maxFormDepth {
		return fault(FaultTooLarge, "", "A parameter nests deeper than %d levels", maxFormDepth)
	}
	for part := range strings.SplitSeq(name, ".") {
		kid := f.kids[part]
		if kid == nil {
			kid = &form{}
			if f.kids == nil {
				f.kids = map[string]*form{}
			}
			f.kids[part] = kid
		}
		f = kid
	}
	if f.set {
		return fault(FaultSyntax, name, "The parameter %s is given more than once", name)
	}
	f.value, f.set = value, true
	return nil
}

// get returns the value of a top-level parameter.
func (f *form) get(name string) string {
	if kid := f.kids[name]; kid != nil {
		return kid.value
	}
	return ""
}

func (f *form) structure(n *node, v reflect.Value, path string) error {
	if f.value != "" {
		return f.wrong(path)
	}
	for _, m := range n.fields {
		kid := f.kids[m.element]
		if kid == nil {
			continue
		}
		if err := kid.member(m, v.Field(m.index), join(path, m.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (f *form) member(m *field, v reflect.Value, path string) error {
	switch m.node.shape.Type {
	case List:
		return f.list(m.node, v, path, m.flattened)
	case Map:
		return f.mapping(m.node, v, path, m.flattened)
	case Structure, String, Blob, Boolean, Integer, Long, Double, Timestamp:
	}
	return f.scalar(m.node, v, path, m.format)
}

// set reads an element of a list or map.
func (f *form) setElement(n *node, v reflect.Value, path string) error {
	switch n.shape.Type {
	case List:
		return f.list(n, v, path, n.shape.Flattened)
	case Map:
		return f.mapping(n, v, path, n.shape.Flattened)
	case Structure, String, Blob, Boolean, Integer, Long, Double, Timestamp:
	}
	return f.scalar(n, v, path, n.shape.TimeFormat)
}

func (f *form) scalar(n *node, v reflect.Value, path string, format TimeFormat) error {
	if n.shape.Type == Structure {
		return f.structure(n, settable(v), path)
	}
	if len(f.kids) > 0 {
		return f.wrong(path)
	}
	return n.setText(v, f.value, path, format)
}

func (f *form) wrong(path string) error {
	return fault(FaultSyntax, path, "Start of structure or map found where not expected at '%s'", path)
}

func (f *form) list(n *node, v reflect.Value, path string, flattened bool) error {
	items, err := f.items(n.shape.Elem.LocationName, "member", flattened, path)
	if err != nil {
		return err
	}
	list := reflect.MakeSlice(n.typ, len(items), len(items))
	for i, item := range items {
		if err := item.setElement(n.elem, list.Index(i), element(path, i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func (f *form) mapping(n *node, v reflect.Value, path string, flattened bool) error {
	items, err := f.items("", "entry", flattened, path)
	if err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(n.typ, len(items))
	for i, item := range items {
		where := element(path, i)
		key, val := reflect.New(n.key.typ).Elem(), reflect.New(n.typ.Elem()).Elem()
		k, e := item.kids[cmp.Or(n.shape.Key.LocationName, "key")], item.kids[cmp.Or(n.shape.Elem.LocationName, "value")]
		if k == nil || e == nil {
			return fault(FaultSyntax, where, "A map entry at '%s' has no key or no value", where)
		}
		if err := k.setElement(n.key, key, where); err != nil {
			return err
		}
		if err := e.setElement(n.elem, val, where); err != nil {
			return err
		}
		m.SetMapIndex(key, val)
	}
	v.Set(m)
	return nil
}

// items returns the numbered children in order. A parameter with an empty value
// and no children is an empty list.
func (f *form) items(name, fallback string, flattened bool, path string) ([]*form, error) {
	if f.value != "" {
		return nil, f.wrong(path)
	}
	from := f
	if !flattened {
		if from = f.kids[cmp.Or(name, fallback)]; from == nil {
			if len(f.kids) > 0 {
				return nil, f.wrong(path)
			}
			return nil, nil
		}
	}
	numbers := make([]int, 0, len(from.kids))
	for k := range from.kids {
		i, err := strconv.ParseUint(k, 10, 31)
		if err != nil || i == 0 || k[0] == '0' {
			return nil, fault(FaultSyntax, path, "'%s' is not a list index at '%s'", k, path)
		}
		numbers = append(numbers, int(i))
	}
	slices.Sort(numbers)
	items := make([]*form, len(numbers))
	for i, number := range numbers {
		items[i] = from.kids[strconv.Itoa(number)]
	}
	return items, nil
}
