package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/registry"
)

var _ registry.IndexStore = (*RegistryStore)(nil)

// IndexingConfiguration returns what was set; everything is off at first.
func (s *RegistryStore) IndexingConfiguration(ctx context.Context) (registry.IndexingConfiguration, error) {
	c := registry.IndexingConfiguration{Things: registry.IndexOff, Connectivity: registry.IndexOff}
	err := s.db.get(ctx, func(q querier) error {
		var fields string
		err := q.queryRow("SELECT things, connectivity, fields FROM iot_indexing WHERE id = 1").Scan(&c.Things, &c.Connectivity, &fields)
		if noRows(err) {
			return nil
		}
		for line := range strings.Lines(fields) {
			name, typ, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			c.CustomFields = append(c.CustomFields, registry.IndexField{Name: name, Type: typ})
		}
		return err
	})
	return c, err
}

// SetIndexingConfiguration sets what is indexed.
func (s *RegistryStore) SetIndexingConfiguration(ctx context.Context, c registry.IndexingConfiguration) error {
	var fields strings.Builder
	for _, f := range c.CustomFields {
		fields.WriteString(f.Name + "\t" + f.Type + "\n")
	}
	return s.db.write(ctx, func(x *tx) error {
		if c.Connectivity == registry.IndexOff { // what is not kept up is not kept
			if _, err := x.exec("DELETE FROM thing_connectivity"); err != nil {
				return err
			}
		}
		_, err := x.exec(`INSERT INTO iot_indexing (id, things, connectivity, fields) VALUES (1, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET things = excluded.things, connectivity = excluded.connectivity, fields = excluded.fields`,
			c.Things, c.Connectivity, fields.String())
		return err
	})
}

// SetConnectivity keeps the newest of what is said of each thing.
func (s *RegistryStore) SetConnectivity(ctx context.Context, list []registry.Connectivity) error {
	return s.db.write(ctx, func(x *tx) error {
		for _, c := range list {
			connected := 0
			if c.Connected {
				connected = 1
			}
			if _, err := x.exec(`INSERT INTO thing_connectivity (thing_name, connected, since_ms, reason)
				SELECT name, CAST(? AS bigint), CAST(? AS bigint), CAST(? AS text) FROM things WHERE name = ?
				ON CONFLICT (thing_name) DO UPDATE SET connected = excluded.connected, since_ms = excluded.since_ms, reason = excluded.reason
				WHERE thing_connectivity.since_ms <= excluded.since_ms`,
				connected, c.Since.UnixMilli(), c.Reason, string(c.Thing)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ClearConnectivity makes every thing one that is not connected.
func (s *RegistryStore) ClearConnectivity(ctx context.Context, at time.Time, reason string) error {
	return s.db.write(ctx, func(x *tx) error {
		_, err := x.exec("UPDATE thing_connectivity SET connected = 0, since_ms = ?, reason = ? WHERE connected = 1", at.UnixMilli(), reason)
		return err
	})
}
