package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"slices"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iotdata"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

const (
	maxPayload      = 128 << 10 // of an HTTP publish
	maxRetainedPage = 200       // topics; the model allows no more
	retainedScope   = "retained"
)

// Messages is what HTTP clients do with messages; broker.Broker is one.
type Messages interface {
	Publish(ctx context.Context, m *broker.Message) error
	Retained(topic string) (broker.Retained, error)
	ListRetained(after string, limit int) []broker.Retained
	Disconnect(ctx context.Context, clientID string, clean, silent bool) error
}

// IoTData is the service iot-data: the messages of the broker over HTTP. Actions
// and resources are those of the service authorization reference.
func IoTData(messages Messages) Service {
	r := &iotDataRows{messages: messages}
	return Service{Name: dataService, Operations: []Operation{
		op("Publish", "iot:Publish", func(c *Call, in *m.PublishInput) string { return iotResource(c, "topic", in.Topic) }, r.publish),
		op("GetRetainedMessage", "iot:GetRetainedMessage", func(c *Call, in *m.GetRetainedMessageInput) string {
			return iotResource(c, "topic", in.Topic)
		}, r.getRetainedMessage),
		op("ListRetainedMessages", "iot:ListRetainedMessages", nil, r.listRetainedMessages),
		op("DeleteConnection", "iot:DeleteConnection", func(c *Call, in *m.DeleteConnectionInput) string {
			return iotResource(c, "client", in.ClientId)
		}, r.deleteConnection),
	}}
}

type iotDataRows struct{ messages Messages }

func (r *iotDataRows) publish(ctx context.Context, c *Call, in *m.PublishInput) (*m.PublishOutput, error) {
	if deref(in.Retain) {
		if err := c.Authorize(ctx, broker.RetainPublish.String(), iotResource(c, "topic", in.Topic), nil); err != nil {
			return nil, err
		}
	}
	message, err := messageOf(in)
	if err != nil {
		return nil, err
	}
	if c.Identity != nil && c.Identity.CertificateID != "" {
		message.From = &broker.Peer{Identity: c.Identity}
	}
	if err := r.messages.Publish(ctx, message); err != nil {
		return nil, err
	}
	c.Writer.Header().Set("X-Amzn-Requestid", c.RequestID)
	writePublished(c.Writer, c.RequestID)
	return nil, nil
}

// writePublished is the answer of Publish, which the model leaves out.
func writePublished(w http.ResponseWriter, id string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(`{"message":"OK","traceId":"` + id + `"}`)) // an error is the client's: it has gone
}

// traceID is what the data plane's errors carry too.
func traceID(id string) awsapi.Param { return awsapi.Param{Name: "traceId", Value: id} }

// messageOf is the message that a client asks to publish. Whether its topic is
// one is for the broker to say.
func messageOf(in *m.PublishInput) (*broker.Message, error) {
	if len(in.Payload) > maxPayload {
		return nil, iot.Errorf(iot.KindTooLarge, "payload", "The payload is larger than %d bytes.", maxPayload)
	}
	properties, err := propertiesOf(in)
	if err != nil {
		return nil, err
	}
	return &broker.Message{
		Topic: deref(in.Topic), Payload: in.Payload, QoS: mqtt.QoS(deref(in.Qos)), //nolint:gosec // the model bounds it
		Retain: deref(in.Retain), Properties: properties,
	}, nil
}

func propertiesOf(in *m.PublishInput) (mqtt.Properties, error) {
	var all []mqtt.Property
	text := func(id mqtt.PropertyID, s *string) {
		if s != nil {
			all = append(all, mqtt.Property{ID: id, Value: []byte(*s)})
		}
	}
	if deref(in.PayloadFormatIndicator) == "UTF8_DATA" {
		all = append(all, mqtt.Property{ID: mqtt.PayloadFormatIndicator, Number: 1})
	}
	if in.MessageExpiry != nil {
		if *in.MessageExpiry < 0 {
			return nil, invalidMessage("The message expiry is negative.")
		}
		all = append(all, mqtt.Property{ID: mqtt.MessageExpiryInterval, Number: uint32(min(*in.MessageExpiry, math.MaxUint32))})
	}
	text(mqtt.ContentType, in.ContentType)
	text(mqtt.ResponseTopic, in.ResponseTopic)
	if in.CorrelationData != nil {
		data, err := base64.StdEncoding.DecodeString(*in.CorrelationData)
		if err != nil {
			return nil, invalidMessage("The correlation data is not base64.")
		}
		all = append(all, mqtt.Property{ID: mqtt.CorrelationData, Value: data})
	}
	user, err := userProperties(deref(in.UserProperties))
	if err != nil {
		return nil, err
	}
	properties, err := mqtt.Properties{}.Add(append(all, user...)...)
	if err != nil {
		return nil, &iot.Error{Kind: iot.KindInvalid, Resource: "message", Message: "A property of the message is not one that MQTT can carry.", Err: err}
	}
	return properties, nil
}

func invalidMessage(why string) error { return iot.Errorf(iot.KindInvalid, "message", "%s", why) }

// userProperties reads an array of objects with one entry each, which botocore
// may have made a string of once more.
func userProperties(text string) ([]mqtt.Property, error) {
	if text == "" {
		return nil, nil
	}
	var inner string
	if json.Unmarshal([]byte(text), &inner) == nil {
		text = inner
	}
	var list []map[string]string
	err := json.Unmarshal([]byte(text), &list)
	if err != nil || slices.ContainsFunc(list, func(o map[string]string) bool { return len(o) != 1 }) {
		return nil, invalidMessage("The user properties are not a JSON array of objects with one string each.")
	}
	properties := make([]mqtt.Property, 0, len(list))
	for _, o := range list {
		for name, value := range o {
			properties = append(properties, mqtt.Property{ID: mqtt.UserProperty, Name: []byte(name), Value: []byte(value)})
		}
	}
	return properties, nil
}

// userPropertiesJSON is what userProperties reads, nil for none.
func userPropertiesJSON(p mqtt.Properties) ([]byte, error) {
	var list []map[string]string
	for x := range p.All() {
		if x.ID == mqtt.UserProperty {
			list = append(list, map[string]string{string(x.Name): string(x.Value)})
		}
	}
	if list == nil {
		return nil, nil
	}
	return json.Marshal(list)
}

func (r *iotDataRows) getRetainedMessage(_ context.Context, _ *Call, in *m.GetRetainedMessageInput) (*m.GetRetainedMessageOutput, error) {
	kept, err := r.messages.Retained(deref(in.Topic))
	if err != nil {
		return nil, err
	}
	user, err := userPropertiesJSON(kept.Properties)
	if err != nil {
		return nil, err
	}
	return &m.GetRetainedMessageOutput{
		Topic: &kept.Topic, Payload: kept.Payload, Qos: new(int32(kept.QoS)),
		LastModifiedTime: new(kept.Modified.UnixMilli()), UserProperties: user,
	}, nil
}

func (r *iotDataRows) listRetainedMessages(_ context.Context, _ *Call, in *m.ListRetainedMessagesInput) (*m.ListRetainedMessagesOutput, error) {
	limit := maxRetainedPage
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	after, err := iot.ParsePageToken(retainedScope, deref(in.NextToken))
	if err != nil {
		return nil, err
	}
	list := r.messages.ListRetained(after, limit+1)
	out := &m.ListRetainedMessagesOutput{}
	if len(list) > limit {
		list = list[:limit]
		out.NextToken = new(iot.PageToken(retainedScope, list[limit-1].Topic))
	}
	out.RetainedTopics = make([]m.RetainedMessageSummary, len(list))
	for i := range list {
		kept := &list[i]
		out.RetainedTopics[i] = m.RetainedMessageSummary{
			Topic: &kept.Topic, PayloadSize: new(int64(len(kept.Payload))), Qos: new(int32(kept.QoS)),
			LastModifiedTime: new(kept.Modified.UnixMilli()),
		}
	}
	return out, nil
}

func (r *iotDataRows) deleteConnection(ctx context.Context, _ *Call, in *m.DeleteConnectionInput) (*m.DeleteConnectionOutput, error) {
	return nil, r.messages.Disconnect(ctx, deref(in.ClientId), deref(in.CleanSession), deref(in.PreventWillMessage))
}
