package broker

import (
	"strings"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// Topics that begin with these are not for everybody.
const (
	ingestPrefix      = "$aws/rules/"
	eventsPrefix      = "$aws/events/"
	ownThingsPrefix   = "$sekisho/things/"
	ownEventsPrefix   = "$sekisho/events/"
	reservedForThing  = "the topic belongs to another thing"
	reservedForServer = "only the server publishes to this topic"
	reservedUnbuilt   = "the reserved topic is not served"
)

// refusal is why a rule of the broker, whatever the policies say, refuses a
// topic; its zero value refuses nothing.
type refusal struct {
	code   mqtt.ReasonCode
	reason string
}

// refusePublish judges a topic name that a client publishes to. thing is the
// thing that its connection is associated with, "" for none.
func refusePublish(topic, thing string, p Profile) refusal {
	if topic == "" || topic[0] != '$' {
		return refusal{}
	}
	switch {
	case strings.HasPrefix(topic, ingestPrefix) && len(topic) > len(ingestPrefix) && topic[len(ingestPrefix)] != '/':
		return refusal{}
	case strings.HasPrefix(topic, "$aws/"):
		return refusal{mqtt.TopicNameInvalid, reservedUnbuilt}
	case strings.HasPrefix(topic, ownEventsPrefix):
		return refusal{mqtt.NotAuthorized, reservedForServer}
	case strings.HasPrefix(topic, "$sekisho/"):
		return refuseThingTopic(topic, thing)
	case p == AWS:
		return refusal{mqtt.TopicNameInvalid, reservedUnbuilt}
	}
	return refusal{}
}

// refuseThingTopic is security rule 9: device topics of ours are for the
// connection of their own thing alone. It holds for names and filters: whose
// topic a filter is about must stand in it literally.
func refuseThingTopic(topic, thing string) refusal {
	rest, ok := strings.CutPrefix(topic, ownThingsPrefix)
	name, _, more := strings.Cut(rest, "/")
	if !ok || !more || thing == "" || name != thing {
		return refusal{mqtt.NotAuthorized, reservedForThing}
	}
	return refusal{}
}

// refuseSubscribe judges a topic filter, without its $share/NAME/ in front.
func refuseSubscribe(filter, thing string, p Profile) refusal {
	if filter == "" || filter[0] != '$' {
		return refusal{}
	}
	switch {
	case strings.HasPrefix(filter, eventsPrefix):
		return refusal{}
	case strings.HasPrefix(filter, "$aws/"), strings.HasPrefix(filter, "$aws"):
		return refusal{mqtt.TopicFilterInvalid, reservedUnbuilt}
	case strings.HasPrefix(filter, ownEventsPrefix):
		return refusal{}
	case strings.HasPrefix(filter, "$sekisho"):
		return refuseThingTopic(filter, thing)
	case p == AWS:
		return refusal{mqtt.TopicFilterInvalid, reservedUnbuilt}
	}
	return refusal{}
}

// refuseReceive judges a topic of which a message is about to be delivered: a
// session may have come to another connection since it was subscribed to.
func refuseReceive(topic, thing string) refusal {
	if !strings.HasPrefix(topic, ownThingsPrefix) {
		return refusal{}
	}
	return refuseThingTopic(topic, thing)
}

// ingested reports whether a topic is one of basic ingest, which goes to the
// rules alone and never to subscribers.
func ingested(topic []byte) bool {
	return len(topic) > len(ingestPrefix) && string(topic[:len(ingestPrefix)]) == ingestPrefix
}
