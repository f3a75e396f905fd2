// Package sqlstore implements every Store interface that the services declare.
//
// Invariant: when a method that writes returns without an error, what it wrote
// is on disk, and the change has been announced to the caches.
package sqlstore
