// Package awsimport copies a fleet from one AWS IoT account to another by the
// API alone: IoT policies, roles behind role aliases, thing types and groups,
// things, certificates, and what is attached to what.
//
// Invariant: the source is only read; at the target things are only made, never
// changed or deleted: what is there and differs is reported and left. A run that
// was broken off is made again.
package awsimport
