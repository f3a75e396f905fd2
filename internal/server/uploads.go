package server

import (
	"context"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/sts"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// ownMessages is the broker as those publish through it who speak for the server.
type ownMessages struct{ s *Server }

// Publish implements uploads.Events.
func (m ownMessages) Publish(ctx context.Context, list ...uploads.Event) error {
	messages := make([]*broker.Message, len(list))
	for i := range list {
		messages[i] = &broker.Message{Topic: list[i].Topic, Payload: list[i].Payload, QoS: mqtt.QoS(1)}
	}
	return m.s.broker.PublishOwn(ctx, messages...)
}

// tell publishes one message of the server itself.
func (m ownMessages) tell(ctx context.Context, topic string, payload []byte) error {
	return m.Publish(ctx, uploads.Event{Topic: topic, Payload: payload})
}

// openLedger makes the ledger of uploads. It ends after the broker, which tells it.
func (s *Server) openLedger() {
	o := &s.opts
	s.ledger = uploads.New(uploads.Config{
		Store: s.db.Uploads(), Events: ownMessages{s}, Keep: o.UploadsKeep, PerThing: o.UploadsPerThing, Max: o.UploadsMax, Now: o.Now, Log: o.Logger,
	})
	s.stop(s.ledger.Close)
}

// uploadTaps are what the ledger hears of. A message is acknowledged when its
// record is kept.
func (s *Server) uploadTaps() []broker.Tap {
	return []broker.Tap{
		{Filters: s.opts.UploadTopics, Take: s.tells((*uploads.Ledger).Message), Wait: true},
		{Filters: s.opts.failedTopics(), Take: s.tells((*uploads.Ledger).FailedMessage), Wait: true},
	}
}

// uploadFailed is told by s3.
func (s *Server) uploadFailed(f *s3.Failure) {
	r := uploads.Record{
		Thing: f.Thing, Certificate: f.Certificate, Door: uploads.DoorS3, Bucket: f.Bucket, Key: f.Key,
		Size: f.Size, UploadID: f.UploadID, Started: f.Began,
	}
	if f.OverMQTT {
		r.Door = uploads.DoorMQTT
	}
	s.ledger.Failed(r, f.Err)
}

// tells returns what hands messages of devices to the ledger.
func (s *Server) tells(tell func(*uploads.Ledger, *uploads.Message)) func(*broker.Published) {
	return func(p *broker.Published) {
		m := &uploads.Message{Topic: p.Topic, Payload: p.Payload, Thing: p.Thing, Certificate: p.Certificate, Done: p.Done}
		if id, ok := p.Peer.Identity.(*sts.Identity); ok { // a WebSocket with a device's credentials
			m.Thing, m.Certificate = id.ThingName, id.CertificateID
		}
		if m.Certificate != "" {
			tell(s.ledger, m)
		} else if p.Done != nil {
			p.Done(nil)
		}
	}
}

// failedTopics are the filters of messages that say that an upload has failed.
func (o *Options) failedTopics() []string {
	if len(o.UploadFailedTopics) > 0 {
		return o.UploadFailedTopics
	}
	list := make([]string, 0, len(o.UploadTopics))
	for _, f := range o.UploadTopics {
		if f != "#" && !strings.HasSuffix(f, "/#") { // which has them below
			f += "/failed"
		}
		list = append(list, f)
	}
	return list
}

func (o *Options) validateUploads() error {
	for flag, list := range map[string][]string{"upload-topic": o.UploadTopics, "upload-failed-topic": o.UploadFailedTopics} {
		for _, f := range list {
			if !broker.ValidFilter(f) {
				return usagef("--%s %q: not a topic filter", flag, f)
			}
		}
	}
	if o.UploadsKeep < 0 {
		return usagef("--uploads-keep %s: a duration such as 2160h is needed, or 0 for ever", o.UploadsKeep)
	}
	for flag, n := range map[string]int64{"uploads-max": o.UploadsMax, "uploads-max-per-thing": o.UploadsPerThing} {
		if n < 0 {
			return usagef("--%s %d: a number is needed, or 0 for all", flag, n)
		}
	}
	return nil
}
