// Package registry keeps things, what is attached to them, and AWS IoT
// policies, and answers the decisions that depend on them from memory.
//
// Invariant: an attachment is known by its incarnation and a thing by its id,
// never by name: what is recreated or reattached is another one. Once a call
// that changed something has returned, no decision is made by what was before.
package registry
