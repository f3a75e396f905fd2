package sqlstore

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

var _ registry.EventStore = (*RegistryStore)(nil)

// EventConfigurations returns what was set.
func (s *RegistryStore) EventConfigurations(ctx context.Context) (registry.EventConfigurations, error) {
	c := registry.EventConfigurations{Enabled: map[registry.EventType]bool{}}
	err := s.db.get(ctx, func(q querier) error {
		_, err := collect(q, func(scan func(...any) error) (struct{}, error) {
			var typ registry.EventType
			var enabled, created, modified int64
			err := scan(&typ, &enabled, &created, &modified)
			c.Enabled[typ] = enabled != 0
			if at := unixMilli(created); c.CreatedAt.IsZero() || at.Before(c.CreatedAt) {
				c.CreatedAt = at
			}
			if at := unixMilli(modified); at.After(c.ModifiedAt) {
				c.ModifiedAt = at
			}
			return struct{}{}, err
		}, "SELECT type, enabled, created_ms, modified_ms FROM iot_event_configurations")
		return err
	})
	return c, err
}

// SetEventConfigurations sets what is named.
func (s *RegistryStore) SetEventConfigurations(ctx context.Context, enabled map[registry.EventType]bool, at time.Time) error {
	return s.db.write(ctx, func(x *tx) error {
		for typ, on := range enabled {
			n := 0
			if on {
				n = 1
			}
			if _, err := x.exec(`INSERT INTO iot_event_configurations (type, enabled, created_ms, modified_ms) VALUES (?, ?, ?, ?)
				ON CONFLICT (type) DO UPDATE SET enabled = excluded.enabled, modified_ms = excluded.modified_ms`,
				string(typ), n, at.UnixMilli(), at.UnixMilli()); err != nil {
				return err
			}
		}
		x.changed(iot.ChangeEventConfiguration, "")
		return nil
	})
}
