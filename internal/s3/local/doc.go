// Package local keeps objects on this machine: bytes in data files, what
// describes them in a Store.
//
// A data file is written once, under a name that is never used again, and its
// object appears when the Store commits the row that names it. So nothing has
// to be renamed: until the commit nobody can find the file, and afterwards it
// never changes. Readers hold it open, or pin its upload, while an overwrite
// takes the name away.
//
// Invariant: every row's files are on disk, because they were synced before it
// was committed; a file without a row is garbage, because it was begun by a
// process that has ended (the sweep at start removes it) or is in the Store's
// list of garbage (the reaper removes it).
package local
