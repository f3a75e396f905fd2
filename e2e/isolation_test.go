//go:build e2e

package e2e_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// TestPrefixIsolation gives two things one role that ends at
// ${credentials-iot:ThingName}: each reaches its own prefix and no other.
func TestPrefixIsolation(t *testing.T) {
	t.Parallel()
	bucket := shared.bucket(t)
	arn := "arn:aws:s3:::" + bucket
	_, roleARN := shared.role(t, trustCredentials(), document(
		allow([]string{"s3:PutObject", "s3:GetObject", "s3:DeleteObject"}, arn+"/${credentials-iot:ThingName}/*"),
		map[string]any{
			"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn,
			"Condition": map[string]any{"StringLike": map[string]string{"s3:prefix": "${credentials-iot:ThingName}/*"}},
		},
	))
	alias, aliasARN := shared.alias(t, roleARN)
	things := []*device{shared.device(t, aliasARN), shared.device(t, aliasARN)}
	for i, me := range things {
		other := things[1-i]
		c := s3.NewFromConfig(shared.config(me.session(t, alias)), pathStyle)
		own, foreign := me.thing+"/file", other.thing+"/file"
		check(t, put(t, c, bucket, own))
		for _, key := range []string{foreign, "file", me.thing, me.thing + "x/file", me.thing + "/../" + other.thing + "/file"} {
			err := put(t, c, bucket, key)
			if strings.HasPrefix(key, me.thing+"/") {
				check(t, err) // a flat key space: dots mean nothing and the key is ours
				continue
			}
			wantDenied(t, "PUT "+key, err)
		}
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &own})
		check(t, err)
		_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &foreign})
		wantDenied(t, "GET of the other's file", err)
		_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &foreign})
		wantDenied(t, "DELETE of the other's file", err)
		_, err = c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String(me.thing + "/stolen"), CopySource: aws.String(bucket + "/" + foreign)})
		wantDenied(t, "copy of the other's file", err)
		_, err = c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &foreign})
		wantDenied(t, "multipart upload to the other's prefix", err)
		_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(me.thing + "/")})
		check(t, err)
		for _, prefix := range []string{"", other.thing + "/", me.thing} {
			_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(prefix)})
			wantDenied(t, "list of "+prefix, err)
		}
		_, err = c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(unique("b"))})
		wantDenied(t, "CreateBucket", err)
	}

	// Without the thing header the variable has no value and matches nothing.
	none := *things[0]
	none.thing = ""
	c := s3.NewFromConfig(shared.config(none.session(t, alias)), pathStyle)
	for _, key := range []string{things[0].thing + "/file", "/file", "${credentials-iot:ThingName}/file"} {
		wantDenied(t, "PUT without a thing "+key, put(t, c, bucket, key))
	}
}

func put(t testing.TB, c *s3.Client, bucket, key string) error {
	t.Helper()
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("x")})
	return err
}

func wantDenied(t testing.TB, what string, err error) {
	t.Helper()
	wantError(t, what, err, http.StatusForbidden, "AccessDenied")
}

// wantError asserts an AWS error of that status and code.
func wantError(t testing.TB, what string, err error, status int, code string) {
	t.Helper()
	var api smithy.APIError
	var res *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &res) {
		t.Errorf("%s: %v, want %d %s", what, err, status, code)
		return
	}
	if api.ErrorCode() != code || res.HTTPStatusCode() != status {
		t.Errorf("%s: %d %s (%s), want %d %s", what, res.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), status, code)
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
