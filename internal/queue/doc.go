// Package queue keeps what must survive the server: ordered keys with values,
// written in groups. Whoever uses it lays out its own keys.
//
// Its invariant: a batch is acknowledged when all of it is on disk, batches
// take effect in the order they were committed, and none takes effect in part.
package queue
