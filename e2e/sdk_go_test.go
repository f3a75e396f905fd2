//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestGoSDK drives S3 with aws-sdk-go-v2 and a device's credentials, path style
// and virtual-host style, over HTTP and HTTPS.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	_, roleARN := shared.role(t, trustCredentials(), document(allow([]string{"s3:PutObject", "s3:GetObject", "s3:ListBucket"}, "*")))
	alias, aliasARN := shared.alias(t, roleARN)
	session := shared.device(t, aliasARN).session(t, alias)
	bucket := shared.bucket(t)
	_, port, _ := cutLast(shared.Env["AWS_ENDPOINT_URL"], ":")
	big := make([]byte, 40<<20)
	_, _ = rand.Read(big)

	for _, c := range []struct {
		name, endpoint string
		path           bool
	}{
		{"path style over http", shared.Env["AWS_ENDPOINT_URL"], true},
		{"path style over https", shared.httpsEndpoint(t, "127.0.0.1"), true},
		{"virtual host over http", "http://localhost:" + port, false},
		{"virtual host over https", shared.httpsEndpoint(t, "localhost"), false},
		{"virtual host under the S3 name", shared.httpsEndpoint(t, "s3."+region+".localhost"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conf := shared.config(session)
			conf.BaseEndpoint = aws.String(c.endpoint)
			client := s3.NewFromConfig(conf, func(o *s3.Options) { o.UsePathStyle = c.path })
			key := unique("go") + "/small file+1"
			body := big[:100_000]
			put, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), Metadata: map[string]string{"a": "b"}})
			check(t, err)
			got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
			check(t, err)
			back, err := io.ReadAll(got.Body)
			check(t, err)
			if !bytes.Equal(back, body) || *got.ETag != *put.ETag || got.Metadata["a"] != "b" {
				t.Errorf("got %d bytes, ETag %s, metadata %v", len(back), *got.ETag, got.Metadata)
			}
			list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key})
			check(t, err)
			if len(list.Contents) != 1 || *list.Contents[0].Key != key {
				t.Errorf("listed %d objects", len(list.Contents))
			}

			manager := transfermanager.New(client)
			_, err = manager.UploadObject(t.Context(), &transfermanager.UploadObjectInput{Bucket: &bucket, Key: aws.String(key + ".big"), Body: bytes.NewReader(big)})
			check(t, err)
			down, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(key + ".big")})
			check(t, err)
			defer shut(t, down.Body)
			if got, want := sum(t, down.Body), sum(t, bytes.NewReader(big)); got != want {
				t.Errorf("the large object has SHA-256 %s, sent was %s", got, want)
			}

			url, err := s3.NewPresignClient(client).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
			check(t, err)
			req, err := http.NewRequestWithContext(t.Context(), url.Method, url.URL, http.NoBody)
			check(t, err)
			res, err := conf.HTTPClient.Do(req)
			check(t, err)
			defer shut(t, res.Body)
			if res.StatusCode != http.StatusOK || sum(t, res.Body) != sum(t, bytes.NewReader(body)) {
				t.Errorf("presigned GET: %s", res.Status)
			}
		})
	}
}
