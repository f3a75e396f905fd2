package pki

// ParseCSR is the parser of signing requests, for its fuzz test.
var ParseCSR = parseCSR //nolint:gochecknoglobals // an alias for a test

// ParseCertificate is the parser of certificates from elsewhere, likewise.
var ParseCertificate = parseCertificate //nolint:gochecknoglobals // an alias for a test
