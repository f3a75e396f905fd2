package sqlstore

import (
	"context"

	"github.com/sekisho-iot/sekisho/internal/registry"
)

// SearchWithin is SearchThings with another bound on the work of a page.
func (s *RegistryStore) SearchWithin(ctx context.Context, q *registry.Query, from string, limit, most int) ([]registry.ThingDocument, string, error) {
	return s.searchThings(ctx, q, from, limit, most)
}
