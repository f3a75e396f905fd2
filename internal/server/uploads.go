package server

import (
	"context"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/sts"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// ownMessages is the broker as those publish through it who speak for the server.
type ownMessages struct{ s *Server }

// Publish implements uploads.Events.
func (m ownMessages) Publish(ctx context.Context, topic string, payload []byte) error {
	return m.s.broker.PublishOwn(ctx, &broker.Message{Topic: topic, Payload: payload, QoS: mqtt.QoS(1)})
}

// openLedger makes the ledger of uploads. It ends after the broker, which tells it.
func (s *Server) openLedger() {
	o := &s.opts
	s.ledger = uploads.New(uploads.Config{
		Store: s.db.Uploads(), Events: ownMessages{s}, Keep: o.UploadsKeep, Max: o.UploadsMax, Now: o.Now, Log: o.Logger,
	})
	s.stop(s.ledger.Close)
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

// uploadMessage is told by the broker.
func (s *Server) uploadMessage(p *broker.Published) {
	m := &uploads.Message{Topic: p.Topic, Payload: p.Payload, Thing: p.Thing, Certificate: p.Certificate}
	if id, ok := p.Peer.Identity.(*sts.Identity); ok { // a WebSocket with a device's credentials
		m.Thing, m.Certificate = id.ThingName, id.CertificateID
	}
	if m.Certificate != "" {
		s.ledger.Message(m)
	}
}

func (o *Options) validateUploads() error {
	for _, f := range o.UploadTopics {
		if !broker.ValidFilter(f) {
			return usagef("--upload-topic %q: not a topic filter", f)
		}
	}
	if o.UploadsKeep < 0 {
		return usagef("--uploads-keep %s: a duration such as 2160h is needed, or 0 for ever", o.UploadsKeep)
	}
	if o.UploadsMax < 0 {
		return usagef("--uploads-max %d: a number is needed, or 0 for all", o.UploadsMax)
	}
	return nil
}
