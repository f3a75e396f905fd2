// Package iam keeps roles, users, access keys and the policies on them.
//
// Invariant: every stored document compiles. What decisions read (RoleGrants,
// KeyGrants) comes compiled out of memory and is dropped by Invalidate, so a
// change is in force once the call that made it has returned. A role or user
// is its unique id; a name that is used again is somebody else.
package iam
