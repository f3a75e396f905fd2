// Package bench measures bin/sekisho against the figures that it must reach.
// `make bench` runs it; it is behind the build tag bench and prints Markdown.
package bench
