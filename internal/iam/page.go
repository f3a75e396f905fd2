package iam

import "github.com/sekisho-iot/sekisho/internal/iot"

const (
	defaultItems = 100
	maxItems     = 1000
)

// ListOptions are what every listing takes.
type ListOptions struct {
	PathPrefix string
	Marker     string
	MaxItems   *int32 // nil means 100
}

// page turns options into what a store is asked: one item more than is
// answered, so that the end is known.
func page(scope string, o ListOptions) (Page, error) {
	if err := checkPathPrefix(o.PathPrefix); err != nil {
		return Page{}, err
	}
	n := int32(defaultItems)
	if o.MaxItems != nil {
		n = *o.MaxItems
	}
	if n < 1 || n > maxItems {
		return Page{}, invalid("1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and %d", n, maxItems)
	}
	after, err := iot.ParsePageToken("iam."+scope, o.Marker)
	if err != nil {
		return Page{}, invalid("Invalid Marker.")
	}
	return Page{PathPrefix: o.PathPrefix, After: after, Limit: int(n) + 1}, nil
}

// cut drops the item too many and returns the marker that continues there.
func cut[T any](scope string, p Page, items []T, key func(T) string) ([]T, string) {
	if len(items) < p.Limit {
		return items, ""
	}
	items = items[:p.Limit-1]
	return items, iot.PageToken("iam."+scope, key(items[len(items)-1]))
}

// slice pages a list that is in memory and in the order of key.
func slice[T any](scope string, p Page, items []T, key func(T) string) ([]T, string) {
	from := 0
	for from < len(items) && key(items[from]) <= p.After {
		from++
	}
	items = items[from:]
	if len(items) > p.Limit {
		items = items[:p.Limit]
	}
	return cut(scope, p, items, key)
}
