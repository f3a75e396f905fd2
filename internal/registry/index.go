package registry

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// ThingsIndex is the name of the index of things.
const ThingsIndex = "AWS_Things"

// IndexingConfiguration says what searches find.
type IndexingConfiguration struct {
	Things       string // OFF or REGISTRY
	Connectivity string // OFF or STATUS
	CustomFields []IndexField
}

// IndexField is a field and its type: Number, String or Boolean.
type IndexField struct {
	Name, Type string
}

// The modes of indexing.
const (
	IndexOff      = "OFF"
	IndexRegistry = "REGISTRY"
	IndexStatus   = "STATUS"
)

// Connectivity is whether a thing's client is connected.
type Connectivity struct {
	Thing     iot.ThingName
	Connected bool
	Since     time.Time
	Reason    string // of a disconnection
}

// ThingDocument is a thing as it is found.
type ThingDocument struct {
	*Thing
	Groups       []iot.ThingGroupName // that it is in itself
	Connectivity *Connectivity        // nil where nothing is known
}

const (
	maxSearchPage   = 100
	maxCustomFields = 5
)

// IndexingConfiguration returns what is indexed.
func (r *Registry) IndexingConfiguration(ctx context.Context) (IndexingConfiguration, error) {
	return r.index.IndexingConfiguration(ctx)
}

// SetIndexingConfiguration changes what is indexed.
func (r *Registry) SetIndexingConfiguration(ctx context.Context, c IndexingConfiguration) error {
	if c.Connectivity == "" {
		c.Connectivity = IndexOff
	}
	if c.Things != IndexOff && c.Things != IndexRegistry || c.Connectivity != IndexOff && c.Connectivity != IndexStatus {
		return iot.Errorf(iot.KindInvalid, "index", "Invalid indexing mode: %.64s, %.64s", c.Things, c.Connectivity)
	}
	if c.Things == IndexOff && (c.Connectivity != IndexOff || len(c.CustomFields) > 0) {
		return iot.Errorf(iot.KindInvalid, "index", "thingIndexingMode must not be OFF where anything else is indexed")
	}
	if len(c.CustomFields) > maxCustomFields {
		return iot.Errorf(iot.KindLimit, "index", "At most %d custom fields can be indexed", maxCustomFields)
	}
	for _, f := range c.CustomFields {
		name, ok := strings.CutPrefix(f.Name, "attributes.")
		if !ok || !validAttributeName(name) || !slices.Contains([]string{"Number", "String", "Boolean"}, f.Type) {
			return iot.Errorf(iot.KindInvalid, "index", "Custom field %.256s of type %.64s is not one of the registry", f.Name, f.Type)
		}
	}
	if err := r.index.SetIndexingConfiguration(ctx, c); err != nil || c.Connectivity == IndexOff || r.online == nil {
		return err
	}
	// Those that were connected before anybody kept a record of it.
	list, err := r.online(ctx)
	if err != nil {
		return err
	}
	return r.SetConnectivity(ctx, list)
}

// SearchThings finds things, by name, and the token of the next page. A page may
// be short, and even empty, before the last one.
func (r *Registry) SearchThings(ctx context.Context, query string, p Page) ([]ThingDocument, string, error) {
	c, err := r.index.IndexingConfiguration(ctx)
	if err != nil {
		return nil, "", err
	}
	if c.Things == IndexOff {
		return nil, "", iot.Errorf(iot.KindState, "index", "Index %s is not ready: thing indexing is off", ThingsIndex)
	}
	q, err := ParseQuery(query)
	if err != nil {
		return nil, "", err
	}
	if c.Connectivity == IndexOff && q.asks(FieldConnected, FieldConnectedAt) {
		return nil, "", badQuery("connectivity is not indexed")
	}
	limit := p.Limit
	if limit == 0 {
		limit = maxSearchPage
	}
	if limit < 0 || limit > maxSearchPage {
		return nil, "", iot.Errorf(iot.KindInvalid, "page", "The page size must be between 1 and %d", maxSearchPage)
	}
	scope := "search\x00" + query
	from, err := iot.ParsePageToken(scope, p.Token)
	if err != nil {
		return nil, "", err
	}
	list, next, err := r.index.SearchThings(ctx, q, from, limit)
	if err != nil || next == "" {
		return list, "", err
	}
	return list, iot.PageToken(scope, next), nil
}

// asks reports whether a term looks at one of the fields.
func (q *Query) asks(fields ...QueryField) bool {
	if q.Op == QueryIs {
		return slices.Contains(fields, q.Term.Field)
	}
	return slices.ContainsFunc(q.Nodes, func(n *Query) bool { return n.asks(fields...) })
}

// SetConnectivity keeps whether things are connected, where that is indexed.
func (r *Registry) SetConnectivity(ctx context.Context, list []Connectivity) error {
	c, err := r.index.IndexingConfiguration(ctx)
	if err != nil || c.Connectivity != IndexStatus {
		return err
	}
	return r.index.SetConnectivity(ctx, slices.DeleteFunc(list, func(c Connectivity) bool { return !iot.ValidThingName(string(c.Thing)) }))
}

// ClearConnectivity makes every thing one that is not connected, which is so when a server starts.
func (r *Registry) ClearConnectivity(ctx context.Context) error {
	return r.index.ClearConnectivity(ctx, r.clock(), "CONNECTION_LOST")
}
