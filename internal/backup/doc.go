// Package backup is the format of a backup: an archive (tar) of a data folder,
// sealed (https://age-encryption.org/v1) under a passphrase.
//
// On its way from the server to the command that asked for it, the archive is
// sealed for a key that the command made for this one transfer: what is in a
// backup never crosses a network readable, and the passphrase never leaves the
// command.
//
// Invariant: nothing of an archive that was cut short, or of which one byte was
// changed, is taken for a data folder.
package backup
