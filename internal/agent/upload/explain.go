package upload

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// explained is an error in the words of who runs the agent: what is wrong and
// what to do.
type explained struct {
	text string
	err  error
}

// Error says it.
func (e *explained) Error() string { return e.text }

// Unwrap is the error as it came.
func (e *explained) Unwrap() error { return e.err }

// explain says of an attempt's error what it means here.
func (t *transfer) explain(err error) error {
	if text := t.meaning(err); text != "" {
		return &explained{text, err}
	}
	return err
}

func (t *transfer) meaning(err error) string {
	operation, fromS3 := errors.AsType[*smithy.OperationError](err)
	if fromS3 {
		if status, code := answer(err); status != 0 {
			return t.refusal(operation.Operation(), status, code, err)
		}
		// The credentials' source says itself what is wrong, behind what the SDK says of it.
		if _, own, ok := strings.Cut(err.Error(), "get credentials: "); ok {
			return own
		}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return "the disk is full: make room: " + err.Error()
	}
	server, where := "the MQTT server", `"endpoints.mqtt"`
	if fromS3 {
		server, where = "S3 at "+hostOf(t.a.settings.Endpoint), `"endpoints.s3"`
	}
	if text := unreachable(server, where, err); text != "" || fromS3 {
		return text
	}
	if ended(err) {
		return "the MQTT server ended the connection, as it does at once where the device's certificate is not known there, not active or expired: " + err.Error()
	}
	return ""
}

// ended reports whether the other side closed a connection.
func ended(err error) bool {
	_, alert := errors.AsType[tls.AlertError](err)
	return alert || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// permissions are the actions that operations need where their names differ.
func permission(operation string) string {
	switch operation {
	case "ListParts":
		return "s3:ListMultipartUploadParts"
	case "AbortMultipartUpload":
		return "s3:AbortMultipartUpload"
	default:
		return "s3:PutObject"
	}
}

// refusal says what an answer of S3 means.
func (t *transfer) refusal(operation string, status int, code string, err error) string {
	r := &t.record
	said := fmt.Sprintf("S3 answered %d %s to %s of %s", status, code, operation, r.Bucket+"/"+r.Key)
	if ae, ok := errors.AsType[smithy.APIError](err); ok && ae.ErrorMessage() != "" && ae.ErrorMessage() != code {
		said += fmt.Sprintf(" (%q)", ae.ErrorMessage())
	}
	if re, ok := errors.AsType[s3.ResponseError](err); ok && re.ServiceRequestID() != "" {
		said += ", request " + re.ServiceRequestID()
	}
	advice := ""
	switch {
	case code == "NoSuchBucket":
		advice = fmt.Sprintf("there is no bucket %s: correct \"bucket\" in device.json or --bucket, or create it", r.Bucket)
	case code == "RequestTimeTooSkewed":
		advice = "this device's clock is off, and S3's is gone by from the next try on"
	case code == "AccessDenied":
		advice = fmt.Sprintf("the role of the device's role alias must allow %s on arn:aws:s3:::%s/%s, and the bucket must be there", permission(operation), r.Bucket, r.Key)
	case staleCredentials(err):
		advice = "the credentials are not accepted (any longer)"
	case status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect || code == "AuthorizationHeaderMalformed":
		advice = "the bucket is in another region: correct \"region\" in device.json"
	case status >= http.StatusInternalServerError || code == "SlowDown":
		advice = "S3 cannot do it now"
	default:
		return said
	}
	return advice + ": " + said
}

// unreachable says of a connection that did not come about, or was lost, why;
// "" of any other error.
func unreachable(server, where string, err error) string {
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err // without the address, which is long
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Sprintf("%s is not the server that it should be: \"rootCa\" of device.json does not vouch for it: %v", server, cause)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("%s goes by another name: correct %s in device.json, or name this host by the server's --public-host: %v", server, where, cause)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Sprintf("the certificate of %s is not acceptable: %v", server, cause)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("%s is not found: check %s in device.json, and the network: %v", server, where, dns)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Sprintf("%s does not answer; check that it runs and that this device reaches it: %v", server, op)
	}
	return ""
}
