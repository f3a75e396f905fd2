// Package awsapi is the wire of the AWS APIs and nothing else: the query,
// rest-json, aws-json and rest-xml protocols, their error envelopes, request
// routing and Signature Version 4.
//
// A generated [Service] describes the operations and shapes of one AWS service;
// a [Router] finds the [Binding] that a request asks for, and the Binding reads
// the request into the operation's input struct and writes its output struct.
// Bytes from outside never reach a caller unchecked: Decode either fills the
// input with values that satisfy the model's types and constraints or returns a
// [*DecodeError] that names the member.
package awsapi
