// Package upload sends a device's files: small ones inside an MQTT message, large
// ones to S3 with a message that names the object.
//
// Invariant: an accepted file is sent, complete and once, and its message
// acknowledged, or its failure is told; what a crash, a lost network or expired
// credentials interrupt goes on from the bytes that the server has.
package upload
