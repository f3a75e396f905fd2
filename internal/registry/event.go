package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// EventType is a kind of events, as UpdateEventConfigurations names it.
type EventType string

// The events that the registry itself publishes.
const (
	ThingEvents           EventType = "THING"
	ThingGroupEvents      EventType = "THING_GROUP"
	ThingTypeEvents       EventType = "THING_TYPE"
	MembershipEvents      EventType = "THING_GROUP_MEMBERSHIP"
	HierarchyEvents       EventType = "THING_GROUP_HIERARCHY"
	TypeAssociationEvents EventType = "THING_TYPE_ASSOCIATION"
)

// EventConfigurations says which events are published; those that it does not name are not.
type EventConfigurations struct {
	Enabled    map[EventType]bool
	CreatedAt  time.Time // of the first configuration; zero for none
	ModifiedAt time.Time
}

// eventTypes are those that can be enabled, and those that are known but that
// nothing publishes yet.
func eventTypes() (published, unbuilt []EventType) {
	return []EventType{ThingEvents, ThingGroupEvents, ThingTypeEvents, MembershipEvents, HierarchyEvents, TypeAssociationEvents},
		[]EventType{"JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE"}
}

// SetEventConfigurations enables and disables events; those not named stay as they are.
func (r *Registry) SetEventConfigurations(ctx context.Context, enabled map[EventType]bool) error {
	published, unbuilt := eventTypes()
	for _, typ := range slices.Sorted(maps.Keys(enabled)) {
		switch {
		case slices.Contains(published, typ):
		case !slices.Contains(unbuilt, typ):
			return iot.Errorf(iot.KindInvalid, "event-configuration", "Invalid event type: %.64s", typ)
		case enabled[typ]:
			return iot.Errorf(iot.KindNotBuilt, "event-configuration", "UpdateEventConfigurations: events of type %s are not built yet", typ)
		}
	}
	return r.events.SetEventConfigurations(ctx, enabled, r.clock())
}

// EventConfigurations returns every type of events and whether it is enabled.
func (r *Registry) EventConfigurations(ctx context.Context) (EventConfigurations, error) {
	c, err := r.events.EventConfigurations(ctx)
	if err != nil {
		return EventConfigurations{}, err
	}
	published, unbuilt := eventTypes()
	all := map[EventType]bool{}
	for _, typ := range append(published, unbuilt...) {
		all[typ] = c.Enabled[typ]
	}
	c.Enabled = all
	return c, nil
}

func (r *Registry) loadEvents(ctx context.Context, _ struct{}) (map[EventType]bool, error) {
	c, err := r.events.EventConfigurations(ctx)
	return c.Enabled, err
}

// eventHead is what every event begins with.
type eventHead struct {
	EventType string `json:"eventType"`
	EventID   string `json:"eventId"`
	Timestamp int64  `json:"timestamp"` // milliseconds
	Operation string `json:"operation"`
	AccountID string `json:"accountId,omitempty"`
}

// emit publishes an event if its type is enabled. What it tells of is done: a
// caller that gives up does not take the event back.
func (r *Registry) emit(ctx context.Context, typ EventType, topic, operation string, payloadOf func(h eventHead) any) {
	if r.publish == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	enabled, err := r.eventsEnabled.Get(ctx, struct{}{})
	if err != nil || !enabled[typ] {
		return
	}
	id, err := iot.NewUUID(r.rand)
	if err != nil {
		return
	}
	payload, err := json.Marshal(payloadOf(eventHead{
		EventType: string(typ) + "_EVENT", EventID: id, Timestamp: r.now().UnixMilli(), Operation: strings.ToUpper(operation), AccountID: string(r.account),
	}))
	if err != nil { // text, numbers and maps of text can always be written
		return
	}
	r.publish(ctx, "$aws/events/"+topic+"/"+operation, payload)
}

// The payloads are those of
// https://docs.aws.amazon.com/iot/latest/developerguide/registry-events.html.

type thingEvent struct {
	eventHead
	ThingID       string            `json:"thingId"`
	ThingName     string            `json:"thingName"`
	VersionNumber int64             `json:"versionNumber"`
	ThingTypeName *string           `json:"thingTypeName"`
	Attributes    map[string]string `json:"attributes"`
}

func (r *Registry) emitThing(ctx context.Context, operation string, t *Thing) {
	r.emit(ctx, ThingEvents, "thing/"+string(t.Name), operation, func(h eventHead) any {
		e := thingEvent{eventHead: h, ThingID: t.ID, ThingName: string(t.Name), VersionNumber: t.Version, Attributes: t.Attributes}
		if t.TypeName != "" {
			e.ThingTypeName = &t.TypeName
		}
		return e
	})
}

type typeAssociationEvent struct {
	eventHead
	ThingID       string `json:"thingId"`
	ThingName     string `json:"thingName"`
	ThingTypeName string `json:"thingTypeName"`
}

// emitTypeOf tells that a thing has another type than before.
func (r *Registry) emitTypeOf(ctx context.Context, t *Thing, before string) {
	if t.TypeName == before {
		return
	}
	tell := func(typeName, operation string) {
		if typeName == "" {
			return
		}
		topic := "thingTypeAssociation/thing/" + string(t.Name) + "/thingType/" + typeName
		r.emit(ctx, TypeAssociationEvents, topic, operation, func(h eventHead) any {
			h.AccountID = ""
			return typeAssociationEvent{eventHead: h, ThingID: t.ID, ThingName: string(t.Name), ThingTypeName: typeName}
		})
	}
	tell(before, "removed")
	tell(t.TypeName, "added")
}

type thingTypeEvent struct {
	eventHead
	ThingTypeID           string              `json:"thingTypeId"`
	ThingTypeName         string              `json:"thingTypeName"`
	IsDeprecated          bool                `json:"isDeprecated"`
	DeprecationDate       *time.Time          `json:"deprecationDate"`
	SearchableAttributes  []string            `json:"searchableAttributes"`
	PropagatingAttributes []map[string]string `json:"propagatingAttributes"`
	Description           string              `json:"description"`
}

func (r *Registry) emitThingType(ctx context.Context, operation string, t *ThingType) {
	r.emit(ctx, ThingTypeEvents, "thingType/"+t.Name, operation, func(h eventHead) any {
		e := thingTypeEvent{
			eventHead: h, ThingTypeID: t.ID, ThingTypeName: t.Name, IsDeprecated: t.Deprecated(), Description: t.Description,
			SearchableAttributes: append([]string{}, t.Searchable...), PropagatingAttributes: []map[string]string{},
		}
		if t.Deprecated() {
			e.DeprecationDate = &t.DeprecatedAt
		}
		return e
	})
}

type thingGroupEvent struct {
	eventHead
	ThingGroupID            string            `json:"thingGroupId"`
	ThingGroupName          string            `json:"thingGroupName"`
	VersionNumber           int64             `json:"versionNumber"`
	ParentGroupName         *string           `json:"parentGroupName"`
	ParentGroupID           *string           `json:"parentGroupId"`
	Description             string            `json:"description"`
	RootToParentThingGroups []eventGroup      `json:"rootToParentThingGroups"` // null for a root
	Attributes              map[string]string `json:"attributes"`
	DynamicGroupMappingID   *string           `json:"dynamicGroupMappingId"`
}

type eventGroup struct {
	GroupARN string `json:"groupArn"`
	GroupID  string `json:"groupId"`
}

func (r *Registry) emitThingGroup(ctx context.Context, operation string, g *ThingGroup) {
	r.emit(ctx, ThingGroupEvents, "thingGroup/"+string(g.Name), operation, func(h eventHead) any {
		e := thingGroupEvent{
			eventHead: h, ThingGroupID: g.ID, ThingGroupName: string(g.Name), VersionNumber: g.Version,
			Description: g.Description, Attributes: g.Attributes,
		}
		for i := range g.Above {
			e.RootToParentThingGroups = append(e.RootToParentThingGroups, eventGroup{string(r.ThingGroupARN(g.Above[i].Name)), g.Above[i].ID})
		}
		if n := len(g.Above); n > 0 {
			e.ParentGroupName, e.ParentGroupID = new(string(g.Parent)), &g.Above[n-1].ID
		}
		return e
	})
	if n := len(g.Above); n > 0 && operation != "updated" {
		r.emitHierarchy(ctx, map[string]string{"created": "added", "deleted": "removed"}[operation], g.Above[n-1], g)
	}
}

type hierarchyEvent struct {
	eventHead
	ThingGroupID   string `json:"thingGroupId"`
	ThingGroupName string `json:"thingGroupName"`
	ChildGroupID   string `json:"childGroupId"`
	ChildGroupName string `json:"childGroupName"`
}

func (r *Registry) emitHierarchy(ctx context.Context, operation string, parent GroupRef, child *ThingGroup) {
	topic := "thingGroupHierarchy/thingGroup/" + string(parent.Name) + "/childThingGroup/" + string(child.Name)
	r.emit(ctx, HierarchyEvents, topic, operation, func(h eventHead) any {
		return hierarchyEvent{h, parent.ID, string(parent.Name), child.ID, string(child.Name)}
	})
}

type membershipEvent struct {
	eventHead
	GroupARN     string `json:"groupArn"`
	GroupID      string `json:"groupId"`
	ThingARN     string `json:"thingArn"`
	ThingID      string `json:"thingId"`
	MembershipID string `json:"membershipId"`
}

func (r *Registry) emitMembership(ctx context.Context, thing string, c *MembershipChange) {
	tell := func(groups []GroupRef, operation string) {
		for _, g := range groups {
			topic := "thingGroupMembership/thingGroup/" + string(g.Name) + "/thing/" + thing
			r.emit(ctx, MembershipEvents, topic, operation, func(h eventHead) any {
				return membershipEvent{
					eventHead: h, GroupARN: string(r.ThingGroupARN(g.Name)), GroupID: g.ID,
					ThingARN: string(r.ThingARN(iot.ThingName(thing))), ThingID: c.ThingID, MembershipID: membershipID(g.ID, c.ThingID),
				}
			})
		}
	}
	tell(c.Removed, "removed")
	tell(c.Added, "added")
}

// membershipID is a UUID that stands for a thing in a group.
func membershipID(group, thing string) string {
	sum := sha256.Sum256([]byte(group + "\x00" + thing))
	id, _ := iot.NewUUID(bytes.NewReader(sum[:])) // there are bytes enough
	return id
}
