package servertest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

func put(t *testing.T, c *s3.Client, key string) error {
	t.Helper()
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key, Body: strings.NewReader("data")})
	return err
}

func TestMainJob(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	c := s.S3As(s.Enrol("pump").Session())
	if err := put(t, c, "pump/a"); err != nil {
		t.Fatal(err)
	}
	if code := servertest.Code(put(t, c, "valve/a")); code != "AccessDenied" {
		t.Fatal(code)
	}
}
