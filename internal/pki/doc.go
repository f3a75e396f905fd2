// Package pki is the certificate authority of the data folder and the register
// of device certificates.
//
// Invariants: a root signs intermediates only, and each intermediate one
// profile only: servers, or devices, whose certificates are good for client
// authentication alone. Nothing of a signing request is copied but its subject
// and its key. The private keys of devices are never stored. A certificate is
// known by the SHA-256 of its DER, whoever signed it.
package pki
