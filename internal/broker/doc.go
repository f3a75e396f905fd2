// Package broker is the MQTT broker: sessions, the topic tree, retained
// messages, wills, shared subscriptions, and the event loops that own the
// connections.
//
// A loop owns its connections and the sessions of the client IDs that hash to
// it: what it owns is touched by its goroutine alone, so that nothing on the
// way of a message takes a lock but the shared trees, which are read. Loops
// talk to each other through mailboxes.
//
// Invariants: no packet has an effect before the access rules have allowed it,
// after topic aliases are resolved; a PUBACK is sent only when every persistent
// session and the retained store that must keep the message have it on disk; an
// idle connection has no goroutine, no buffer and no timer of its own; what a
// peer makes the broker hold is bounded.
package broker
