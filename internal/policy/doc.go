// Package policy is the policy language of AWS IAM and AWS IoT: it parses,
// compiles, evaluates and explains policy documents. It is pure: no clock, no
// I/O; what a request knows about itself comes through Keys.
//
// Invariants: nothing is allowed unless a statement allows it and none denies
// it; a document compiles whole or not at all; evaluation allocates nothing
// and never normalises what it compares; text that a variable puts into a
// pattern is never a wildcard.
//
// Where AWS's documents leave room, the package chooses as follows.
//
//   - A resource policy that names the account (its number or its root) only
//     delegates: an identity policy must allow as well. One that names "*"
//     allows everyone, anonymous callers too, within the permissions boundary
//     and the session policy of whoever has one.
//   - Deny with NotPrincipal spares a caller only if its account, its role (if
//     it has one) and its own ARN are all listed; Allow with NotPrincipal
//     excludes a caller of whom any of these is listed. No NotPrincipal spares
//     a caller with a permissions boundary from a Deny.
//   - A variable that does not resolve in NotResource makes an Allow not apply
//     and a Deny apply.
//   - A key that is there with an empty value gives its variable the empty text
//     and takes no default.
//   - A * in Resource runs across the colons of an ARN, as IAM documents for the
//     end of a part; the ARN operators match part by part.
//   - Null takes an empty set for an absent key; IfExists does not.
//   - An operator without ForAllValues or ForAnyValue on a multi-valued key is
//     true if any value matches; its negation is the opposite of that.
//   - Binary keys carry base64 text.
package policy
