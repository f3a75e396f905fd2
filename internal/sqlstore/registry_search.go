package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// A search is an algebra of sources, each of which finds the next thing that a
// term matches out of an index: AND leaps from one to the other, so that it
// reads little more than what the rarest term matches.

const (
	maxSearchWork = 50_000 // rows read for one page, after which it ends early
	maxGathered   = 10_000 // matches of a term that are sorted in memory
	maxVariants   = 16     // ways of writing a name, of which some are in use
	maxNamed      = 200    // types, groups or attributes that one pattern names
	maxRead       = 1024   // rows at a time
	maxWindow     = 4096   // names that a walk goes past at a time
)

// source finds matches by name. What it is asked for only ascends.
type source interface {
	// next returns the first match that is not before from.
	next(from string) (name string, ok bool, err error)
}

type search struct {
	q    querier
	work int // rows read
	most int // after which a page ends early
}

// SearchThings lists by name what matches.
func (s *RegistryStore) SearchThings(ctx context.Context, q *registry.Query, from string, limit int) (list []registry.ThingDocument, next string, err error) {
	return s.searchThings(ctx, q, from, limit, maxSearchWork)
}

func (s *RegistryStore) searchThings(ctx context.Context, q *registry.Query, from string, limit, most int) (list []registry.ThingDocument, next string, err error) {
	err = s.db.read(ctx, func(r querier) error {
		x := &search{q: r, most: most}
		src, err := x.source(q)
		if err != nil {
			return err
		}
		x.work = 0 // every page gets on
		names, end, err := x.page(ctx, src, from, min(limit, maxDocuments))
		if err != nil {
			return err
		}
		next = end
		list, err = documents(r, names)
		return err
	})
	return list, next, err
}

// page collects matches until there are enough, or the work has been too much.
func (x *search) page(ctx context.Context, src source, from string, limit int) (names []string, next string, err error) {
	for {
		name, ok, err := src.next(from)
		if early, isEarly := errors.AsType[*tooMuchError](err); isEarly {
			return names, early.from, nil
		}
		if err != nil || !ok {
			return names, "", err
		}
		if len(names) == limit {
			return names, from, nil
		}
		names = append(names, name)
		from = following(name)
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
	}
}

// following comes after name and before every other that is after it: names have
// no control characters. PostgreSQL takes no NUL.
func following(name string) string { return name + "\x01" }

// tooMuchError ends a page: there is no match before from, which is past where
// the source was asked to begin.
type tooMuchError struct{ from string }

// Error implements error.
func (*tooMuchError) Error() string { return "the page has been too much work" }

// spend counts rows read.
func (x *search) spend(rows int) { x.work += rows + 1 }

// gathered is a source in memory, in order.
type gathered []string

func (g gathered) next(from string) (name string, ok bool, err error) {
	i, _ := slices.BinarySearch(g, from)
	if i == len(g) {
		return "", false, nil
	}
	return g[i], true, nil
}

// stream is a source that an index has in order.
type stream struct {
	x    *search
	load func(from string, limit int) ([]string, error)

	loaded, done bool
	start        string // what buffer begins at, or after
	buffer       []string
	size         int
}

func (s *stream) next(from string) (name string, ok bool, err error) {
	if s.loaded && from >= s.start {
		if i, _ := slices.BinarySearch(s.buffer, from); i < len(s.buffer) {
			return s.buffer[i], true, nil
		}
		if s.done {
			return "", false, nil
		}
	}
	// Who goes on in order will want more; who leaps will not.
	n := len(s.buffer)
	switch {
	case !s.loaded:
		s.size = maxDocuments + 1
	case n > 0 && from == following(s.buffer[n-1]):
		s.size = min(s.size*4, maxRead)
	default:
		s.size = 8
	}
	if s.buffer, err = s.load(from, s.size); err != nil {
		return "", false, err
	}
	s.x.spend(len(s.buffer))
	s.loaded, s.start, s.done = true, from, len(s.buffer) < s.size
	if len(s.buffer) == 0 {
		return "", false, nil
	}
	return s.buffer[0], true, nil
}

// walk is a source that no index has: it goes past every name, a window of them
// at a time, so that what is nowhere does not hold the database up.
type walk struct {
	x    *search
	load func(from, to string, limit int) ([]string, error) // to "" is the end

	low, high string // all matches are from low on and before high, if that is not ""

	loaded, whole bool   // whole: the buffer has all matches of the window
	start, end    string // of the window
	buffer        []string
}

func (w *walk) next(from string) (name string, ok bool, err error) {
	asked := from
	for from = max(from, w.low); w.high == "" || from < w.high; {
		if w.loaded && from >= w.start && (w.end == "" || from < w.end) {
			if i, _ := slices.BinarySearch(w.buffer, from); i < len(w.buffer) {
				return w.buffer[i], true, nil
			}
			if w.whole && w.end == "" {
				return "", false, nil
			}
			if w.whole {
				from = w.end
			}
		}
		if w.x.work > w.x.most && from > asked {
			return "", false, &tooMuchError{from}
		}
		w.start = from
		window := min(maxWindow, w.x.most/8+1)
		ends, err := collect(w.x.q, scanName[string], "SELECT name FROM things WHERE name >= ? ORDER BY name LIMIT 1 OFFSET ?", from, window)
		if err != nil {
			return "", false, err
		}
		if w.end = ""; len(ends) > 0 {
			w.end = ends[0]
		}
		if w.buffer, err = w.load(from, w.end, maxRead); err != nil {
			return "", false, err
		}
		w.loaded, w.whole = true, len(w.buffer) < maxRead
		w.x.spend(window)
	}
	return "", false, nil
}

// union is any of its parts.
type union []source

func (u union) next(from string) (name string, ok bool, err error) {
	var early *tooMuchError
	for _, s := range u {
		n, found, err := s.next(from)
		if e, isEarly := errors.AsType[*tooMuchError](err); isEarly {
			if early == nil || e.from < early.from {
				early = e
			}
			continue
		}
		if err != nil {
			return "", false, err
		}
		if found && (!ok || n < name) {
			name, ok = n, true
		}
	}
	if early != nil && (!ok || name >= early.from) {
		return "", false, early
	}
	return name, ok, nil
}

// both is what all of some match and none of others.
type both struct {
	x            *search
	all, without []source
}

func (b *both) next(from string) (name string, ok bool, err error) {
	for asked := from; ; {
		if b.x.work > b.x.most && from > asked { // whoever is asked gets on
			return "", false, &tooMuchError{from}
		}
		at := from
		for _, s := range b.all {
			n, found, err := s.next(at)
			if err != nil || !found {
				return "", false, err
			}
			at = n
		}
		if at != from && len(b.all) > 1 {
			from = at // which the first ones have not been asked about
			continue
		}
		excluded, err := b.excludes(at)
		if err != nil {
			return "", false, err
		}
		if !excluded {
			return at, true, nil
		}
		from = following(at)
		b.x.spend(0)
	}
}

func (b *both) excludes(name string) (bool, error) {
	for _, s := range b.without {
		n, found, err := s.next(name)
		if _, isEarly := errors.AsType[*tooMuchError](err); isEarly {
			continue // it is past the name
		}
		if err != nil || found && n == name {
			return true, err
		}
	}
	return false, nil
}

// source makes the source of a query.
func (x *search) source(q *registry.Query) (source, error) {
	switch q.Op {
	case registry.QueryIs:
		return x.term(q.Term)
	case registry.QueryOr:
		var u union
		for _, n := range q.Nodes {
			s, err := x.source(n)
			if err != nil {
				return nil, err
			}
			u = append(u, s)
		}
		return u, nil
	case registry.QueryAnd, registry.QueryNot:
	}
	nodes := q.Nodes
	if q.Op == registry.QueryNot {
		nodes = []*registry.Query{q}
	}
	b := &both{x: x}
	for _, n := range nodes {
		list := &b.all
		if n.Op == registry.QueryNot {
			n, list = n.Nodes[0], &b.without
		}
		s, err := x.source(n)
		if err != nil {
			return nil, err
		}
		*list = append(*list, s)
	}
	if len(b.all) == 0 {
		b.all = append(b.all, x.everything())
	}
	// What is known to be little leads.
	slices.SortStableFunc(b.all, func(s, t source) int { return cmp.Compare(weight(s), weight(t)) })
	return b, nil
}

func weight(s source) int {
	if g, ok := s.(gathered); ok {
		return len(g)
	}
	return maxGathered + 1
}

// where is a stream of names out of a query's column, after which comes
// "column >= ? ORDER BY column LIMIT ?".
func (x *search) where(column, query string, args ...any) source {
	query += " AND " + column + " >= ? ORDER BY " + column + " LIMIT ?"
	return &stream{x: x, load: func(from string, limit int) ([]string, error) {
		return collect(x.q, scanName[string], query, append(slices.Clone(args), from, limit)...)
	}}
}

// past is a walk with a condition that no index answers in the order of names.
func (x *search) past(column, query string, args ...any) *walk {
	return &walk{x: x, load: func(from, to string, limit int) ([]string, error) {
		q, a := query+" AND "+column+" >= ?", append(slices.Clone(args), from)
		if to != "" {
			q, a = q+" AND "+column+" < ?", append(a, to)
		}
		return collect(x.q, scanName[string], q+" ORDER BY "+column+" LIMIT ?", append(a, limit)...)
	}}
}

func (x *search) everything() source {
	return x.where("name", "SELECT name FROM things WHERE 1 = 1")
}

// condition is a term as a condition on a column.
func condition(t *registry.QueryTerm, column, number string) (sql string, args []any) {
	if r := t.Range; r != nil {
		low, high := any(r.Low), any(r.High)
		if r.Numeric && number != "" {
			column, low, high = number, r.LowNum, r.HighNum
		}
		sql = column + " IS NOT NULL"
		bound := func(op string, with bool, v any) {
			if with {
				op += "="
			}
			sql, args = sql+" AND "+column+" "+op+" ?", append(args, v)
		}
		if r.Low != "" {
			bound(">", r.WithLow, low)
		}
		if r.High != "" {
			bound("<", r.WithHigh, high)
		}
		return sql, args
	}
	if text, ok := t.Pattern.Literal(); ok {
		return column + " = ?", []any{text}
	}
	prefix, whole := t.Pattern.Prefix()
	if prefix == "" && whole {
		return "1 = 1", nil
	}
	if prefix != "" {
		sql, args = column+" >= ? AND "+column+" < ?", []any{prefix, afterPrefix(prefix)}
		if whole {
			return sql, args
		}
		sql += " AND "
	}
	return sql + column + ` LIKE ? ESCAPE '\'`, append(args, likePattern(t.Pattern))
}

// likePattern is the pattern as LIKE has it.
func likePattern(p registry.QueryPattern) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, string(registry.WildMany), "%", string(registry.WildOne), "_").Replace(string(p))
}

func (x *search) term(t *registry.QueryTerm) (source, error) {
	switch t.Field {
	case registry.FieldThingName:
		return x.thingName(t)
	case registry.FieldThingID:
		sql, args := condition(t, "id", "")
		if _, ok := t.Pattern.Literal(); ok && t.Range == nil {
			return x.gather(x.where("name", "SELECT name FROM things WHERE "+sql, args...), "SELECT name FROM things WHERE "+sql, args)
		}
		return x.past("name", "SELECT name FROM things WHERE "+sql, args...), nil
	case registry.FieldThingType:
		return x.named(t, "thing_types", "name", "SELECT name FROM things WHERE type_name = ?",
			"SELECT name FROM things WHERE type_name <> ''", "lower(type_name)")
	case registry.FieldThingGroup:
		return x.named(t, "thing_groups", "thing_name", "SELECT thing_name FROM thing_group_members WHERE group_name = ?",
			"SELECT DISTINCT thing_name FROM thing_group_members WHERE 1 = 1", "lower(group_name)")
	case registry.FieldAttribute:
		return x.attribute(t)
	case registry.FieldConnected:
		if text, ok := t.Pattern.Literal(); ok {
			connected := 0
			if text == "true" {
				connected = 1
			}
			return x.where("thing_name", "SELECT thing_name FROM thing_connectivity WHERE connected = ?", connected), nil
		}
		return x.where("thing_name", "SELECT thing_name FROM thing_connectivity WHERE 1 = 1"), nil
	case registry.FieldConnectedAt:
		sql, args := condition(t, "since_ms", "CAST(since_ms AS double precision)")
		return x.past("thing_name", "SELECT thing_name FROM thing_connectivity WHERE "+sql, args...), nil
	case registry.FieldAny:
	}
	if t.Pattern == registry.QueryPattern(registry.WildMany) {
		return x.everything(), nil
	}
	return x.anywhere(t)
}

// gather has few matches in memory, in order; what has too many stays a stream.
func (x *search) gather(otherwise source, query string, args []any) (source, error) {
	list, err := collect(x.q, scanName[string], query+" LIMIT ?", append(slices.Clone(args), maxGathered+1)...)
	if err != nil {
		return nil, err
	}
	if len(list) > maxGathered {
		return otherwise, nil
	}
	x.spend(len(list))
	slices.Sort(list)
	return gathered(slices.Compact(list)), nil
}

// attribute finds by an attribute: a value of which is in the order of names in
// the index, while a range of values is not.
func (x *search) attribute(t *registry.QueryTerm) (source, error) {
	const all = "SELECT thing_name FROM thing_attributes WHERE name = ?"
	sql, args := condition(t, "lower(value)", "number")
	args = append([]any{t.Attribute}, args...)
	if _, ok := t.Pattern.Literal(); ok && t.Range == nil {
		return x.where("thing_name", all+" AND "+sql, args...), nil
	}
	// The concatenation keeps a walk by name off the index of values.
	walk, walkArgs := condition(t, "(lower(value) || '')", "(number + 0)")
	otherwise := x.past("thing_name", "SELECT thing_name FROM thing_attributes WHERE (name || '') = ? AND "+walk, append([]any{t.Attribute}, walkArgs...)...)
	return x.gather(otherwise, all+" AND "+sql, args)
}

// named finds by a type or a group, of which a pattern names some in table.
func (x *search) named(t *registry.QueryTerm, table, column, one, all, folded string) (source, error) {
	sql, args := condition(t, "lower(name)", "")
	names, err := collect(x.q, scanName[string], "SELECT name FROM "+table+" WHERE "+sql+" LIMIT ?", append(args, maxNamed+1)...)
	if err != nil {
		return nil, err
	}
	x.spend(len(names))
	if len(names) > maxNamed {
		sql, args := condition(t, folded, "")
		return x.past(column, all+" AND "+sql, args...), nil
	}
	u := union{}
	for _, n := range names {
		u = append(u, x.where(column, one, n))
	}
	return u, nil
}

// thingName finds by the name itself, of which there is no index without case:
// the ways of writing that are in use are few, and each is a range of names.
func (x *search) thingName(t *registry.QueryTerm) (source, error) {
	sql, args := condition(t, "lower(name)", "")
	if t.Range != nil {
		return x.past("name", "SELECT name FROM things WHERE "+sql, args...), nil
	}
	prefix, whole := t.Pattern.Prefix()
	written, ok, err := x.variants(prefix)
	if err != nil {
		return nil, err
	}
	if _, literal := t.Pattern.Literal(); literal && ok {
		return x.gatherNames(written)
	}
	if prefix == "" || !ok {
		return x.past("name", "SELECT name FROM things WHERE "+sql, args...), nil
	}
	u := union{}
	for _, w := range written {
		query, args := "SELECT name FROM things WHERE name >= ? AND name < ?", []any{w, afterPrefix(w)}
		if whole {
			u = append(u, x.where("name", query, args...))
			continue
		}
		within := x.past("name", query+` AND lower(name) LIKE ? ESCAPE '\'`, append(args, likePattern(t.Pattern))...)
		within.low, within.high = w, afterPrefix(w)
		u = append(u, within)
	}
	return u, nil
}

// gatherNames has those names that things have.
func (x *search) gatherNames(names []string) (source, error) {
	g := gathered{}
	for _, n := range names {
		var count int
		if err := x.q.queryRow("SELECT count(*) FROM things WHERE name = ?", n).Scan(&count); err != nil {
			return nil, err
		}
		if count > 0 {
			g = append(g, n)
		}
	}
	slices.Sort(g)
	return g, nil
}

// variants returns the ways in which names begin with prefix, which is in lower
// case; false where there are too many.
func (x *search) variants(prefix string) ([]string, bool, error) {
	written := []string{""}
	for i := range len(prefix) {
		c := prefix[i]
		if c < 'a' || c > 'z' {
			for j := range written {
				written[j] += string(c)
			}
			continue
		}
		var more []string
		for _, w := range written {
			for _, v := range []string{w + string(c-'a'+'A'), w + string(c)} {
				var n int
				if err := x.q.queryRow("SELECT count(*) FROM (SELECT name FROM things WHERE name >= ? AND name < ? LIMIT 1) AS one", v, afterPrefix(v)).Scan(&n); err != nil {
					return nil, false, err
				}
				x.spend(n)
				if n > 0 {
					more = append(more, v)
				}
			}
		}
		if written = more; len(written) > maxVariants {
			return nil, false, nil
		}
	}
	return written, true, nil
}

// anywhere finds in every field of the registry.
func (x *search) anywhere(t *registry.QueryTerm) (source, error) {
	u := union{}
	for _, f := range []registry.QueryField{registry.FieldThingName, registry.FieldThingID, registry.FieldThingType, registry.FieldThingGroup} {
		s, err := x.term(&registry.QueryTerm{Field: f, Pattern: t.Pattern})
		if err != nil {
			return nil, err
		}
		u = append(u, s)
	}
	name := ""
	for range maxNamed {
		list, err := collect(x.q, scanName[string], "SELECT name FROM thing_attributes WHERE name > ? ORDER BY name LIMIT 1", name)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return u, nil
		}
		x.spend(1)
		name = list[0]
		s, err := x.attribute(&registry.QueryTerm{Field: registry.FieldAttribute, Attribute: name, Pattern: t.Pattern})
		if err != nil {
			return nil, err
		}
		u = append(u, s)
	}
	return nil, iot.Errorf(iot.KindInvalid, "query", "Invalid query string: things have too many attributes to look for a term in all of them")
}

// thingsByAttribute lists as ListThings does: values tell case, and a thing with
// a type is found by what the type says.
func (s *RegistryStore) thingsByAttribute(ctx context.Context, f registry.ThingFilter, after iot.ThingName, limit int) (list []*registry.Thing, err error) {
	term := registry.QueryTerm{Field: registry.FieldAttribute, Attribute: f.AttributeName, Pattern: registry.QueryPattern(strings.ToLower(f.AttributeValue))}
	if f.Prefix || f.AttributeValue == "" {
		term.Pattern += registry.QueryPattern(registry.WildMany)
	}
	err = s.db.read(ctx, func(q querier) error {
		x := &search{q: q, most: maxSearchWork}
		src, err := x.term(&term)
		if err != nil {
			return err
		}
		found := listing{q: q, filter: f, types: map[string]registry.ThingType{}}
		for from, more := following(string(after)), true; more && len(list) < limit; {
			var names []string
			if names, from, err = x.page(ctx, src, from, maxDocuments); err != nil {
				return err
			}
			more = from != ""
			documents, err := documents(q, names)
			if err != nil {
				return err
			}
			for _, d := range documents {
				ok, err := found.shows(d.Thing)
				if err != nil {
					return err
				}
				if ok && len(list) < limit {
					list = append(list, d.Thing)
				}
			}
		}
		return nil
	})
	return list, err
}

// listing is what ListThings asks for.
type listing struct {
	q      querier
	filter registry.ThingFilter
	types  map[string]registry.ThingType
}

func (l *listing) shows(t *registry.Thing) (bool, error) {
	f, value := &l.filter, t.Attributes[l.filter.AttributeName]
	if f.TypeName != "" && t.TypeName != f.TypeName || f.Prefix && !strings.HasPrefix(value, f.AttributeValue) ||
		!f.Prefix && f.AttributeValue != "" && value != f.AttributeValue {
		return false, nil
	}
	if t.TypeName == "" {
		return true, nil
	}
	typ, known := l.types[t.TypeName]
	if !known {
		var err error
		if typ, err = thingType(l.q, t.TypeName); err != nil {
			return false, err
		}
		l.types[t.TypeName] = typ
	}
	return slices.Contains(typ.Searchable, f.AttributeName), nil
}

// maxDocuments is how many things are read at once.
const maxDocuments = 100

// documents reads what is found of things, in the order of names.
func documents(q querier, names []string) ([]registry.ThingDocument, error) {
	if len(names) == 0 {
		return nil, nil
	}
	args := make([]any, maxDocuments) // one text of the query, however many there are
	for i := range args {
		args[i] = names[min(i, len(names)-1)]
	}
	const in = " IN (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?," +
		"?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
	things, err := collect(q, scanThing, "SELECT name, id, type_name, version, created_ms, updated_ms FROM things WHERE name"+in, args...)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(things, func(a, b *registry.Thing) int { return strings.Compare(string(a.Name), string(b.Name)) })
	list := make([]registry.ThingDocument, len(things))
	for i, t := range things {
		t.Attributes = map[string]string{}
		list[i].Thing = t
	}
	var lost registry.ThingDocument
	lost.Thing = &registry.Thing{Attributes: map[string]string{}}
	of := func(name string) *registry.ThingDocument {
		i, found := slices.BinarySearchFunc(list, name, func(d registry.ThingDocument, n string) int { return strings.Compare(string(d.Name), n) })
		if !found {
			return &lost // of one snapshot all are found
		}
		return &list[i]
	}
	parts := []struct {
		query string
		take  func(scan func(...any) error) error
	}{
		{"SELECT thing_name, name, value FROM thing_attributes WHERE thing_name" + in, func(scan func(...any) error) error {
			var thing, name, value string
			err := scan(&thing, &name, &value)
			of(thing).Attributes[name] = value
			return err
		}},
		{"SELECT thing_name, group_name FROM thing_group_members WHERE thing_name" + in + " ORDER BY thing_name, group_name", func(scan func(...any) error) error {
			var thing string
			var group iot.ThingGroupName
			err := scan(&thing, &group)
			d := of(thing)
			d.Groups = append(d.Groups, group)
			return err
		}},
		{"SELECT thing_name, connected, since_ms, reason FROM thing_connectivity WHERE thing_name" + in, func(scan func(...any) error) error {
			var c registry.Connectivity
			var connected, since int64
			err := scan(&c.Thing, &connected, &since, &c.Reason)
			c.Connected, c.Since = connected != 0, unixMilli(since)
			of(string(c.Thing)).Connectivity = &c
			return err
		}},
	}
	for _, p := range parts {
		if _, err := collect(q, func(scan func(...any) error) (struct{}, error) { return struct{}{}, p.take(scan) }, p.query, args...); err != nil {
			return nil, err
		}
	}
	return list, nil
}
