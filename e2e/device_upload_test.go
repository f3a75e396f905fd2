//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestDeviceUpload: enroll --uploads, then one small and one large file.
func TestDeviceUpload(t *testing.T) {
	t.Parallel()
	bin, err := process.Binary()
	check(t, err)
	bucket := unique("uploads")
	_, err = shared.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
	check(t, err)
	_, roleARN := shared.role(t, trustCredentials(), document(allow(
		[]string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}, "arn:aws:s3:::"+bucket+"/${credentials-iot:ThingName}/*")))
	alias, _ := shared.alias(t, roleARN)
	thing, dir := unique("camera"), t.TempDir()
	out := filepath.Join(dir, "out")
	runIn(t, dir, shared.environ(), bin, "enroll", thing, "--role-alias", alias, "--uploads", bucket, "--out", out)

	big := make([]byte, 20<<20)
	_, _ = rand.Read(big)
	check(t, os.WriteFile(filepath.Join(dir, "big.bin"), big, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "small.txt"), []byte("small"), 0o600))
	// The device knows its files alone: nothing of the operator's environment.
	env := []string{"HOME=" + dir}
	args := []string{"device", "upload", "--config", filepath.Join(out, "device.json"), "--give-up-after", "20s"}
	stdout, stderr, err := try(t, dir, env, bin, append(args, "small.txt", "big.bin")...)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if !strings.Contains(stdout, "small.txt: 5 bytes sent in a message") || !strings.Contains(stdout, "/"+bucket+"/"+thing+"/big.bin") {
		t.Errorf("it said %q", stdout)
	}
	got, err := shared.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(thing + "/big.bin")})
	check(t, err)
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	check(t, err)
	if !bytes.Equal(body, big) {
		sum := sha256.Sum256(body)
		t.Errorf("the object differs: %d bytes, %s", len(body), hex.EncodeToString(sum[:]))
	}
	// A file that is not there, and an own prefix that the key leaves.
	_, _, err = try(t, dir, env, bin, append(args, "none.txt")...)
	wantExit(t, err, 1)
	_, stderr, err = try(t, dir, env, bin, append(args, "--key", "other/{name}", "big.bin")...)
	wantExit(t, err, 1)
	if !strings.Contains(stderr, "AccessDenied") {
		t.Errorf("it said %q", stderr)
	}
	_, _, err = try(t, dir, env, bin, append(args, "--key", "{nothing}", "big.bin")...)
	wantExit(t, err, 2)
	b, err := os.ReadFile(filepath.Join(out, "device.json"))
	check(t, err)
	if !json.Valid(b) || !strings.Contains(string(b), bucket) {
		t.Errorf("device.json: %s", b)
	}
}
