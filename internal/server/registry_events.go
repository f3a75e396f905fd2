package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
)

// eventTimeout bounds how long a call to the registry waits for its event.
const eventTimeout = 5 * time.Second

// publishEvent publishes an event of the registry. What it tells of is done
// already, so that a failure is for the log alone.
func (s *Server) publishEvent(ctx context.Context, topic string, payload []byte) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	if err := s.broker.PublishOwn(ctx, &broker.Message{Topic: topic, Payload: payload, QoS: 1}); err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "event not published", slog.String("topic", topic), slog.Any("error", err))
	}
}
