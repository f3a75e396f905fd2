//go:build e2e

package e2e_test

import (
	"testing"
)

// TestBoto3 runs testdata/*.py; each asserts for itself and exits 0.
func TestBoto3(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	_, roleARN := shared.role(t, trustCredentials(), document(allow("s3:*", "*")))
	alias, aliasARN := shared.alias(t, roleARN)
	d := shared.device(t, aliasARN)
	bucket := shared.bucket(t)
	for _, c := range []struct{ script, endpoint string }{
		{"document001.py", shared.Env["AWS_ENDPOINT_URL"]},
		{"document001.py", shared.httpsEndpoint(t, "127.0.0.1")},
		{"objects.py", shared.httpsEndpoint(t, "localhost")},
		{"objects.py", shared.Env["AWS_ENDPOINT_URL"]},
		{"multipart.py", shared.httpsEndpoint(t, "127.0.0.1")},
		{"checksums.py", shared.httpsEndpoint(t, "127.0.0.1")},
		{"checksums.py", shared.Env["AWS_ENDPOINT_URL"]},
		{"presigned.py", shared.httpsEndpoint(t, "127.0.0.1")},
		{"presigned.py", shared.Env["AWS_ENDPOINT_URL"]},
	} {
		t.Run(c.script+" "+c.endpoint[:5], func(t *testing.T) {
			t.Parallel()
			env := shared.environ(
				"PYTHONPATH="+testdata(t, ""), "PYTHONDONTWRITEBYTECODE=1",
				"S3_ENDPOINT_URL="+c.endpoint, "BUCKET="+bucket, "PREFIX="+unique("boto3"),
				"THING="+d.thing, "ROLE_ALIAS="+alias, "DEVICE_CERT="+d.certFile(), "DEVICE_KEY="+d.keyFile(),
			)
			runIn(t, t.TempDir(), env, "python3", testdata(t, c.script))
		})
	}
}
