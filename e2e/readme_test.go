//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestREADME runs the walk through of the README, every shell block in order.
func TestREADME(t *testing.T) {
	t.Parallel()
	need(t, "aws", "curl", "jq")
	s := start(t)
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	check(t, err)
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d shell blocks", len(blocks))
	}
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "file_y"), []byte("file_y"), 0o600))
	runIn(t, dir, s.environ(), "bash", "-c", script.String())
	if got, want := s.objectSum(t, "uploads", "thing_x/file_y"), fileSum(t, filepath.Join(dir, "file_y")); got != want {
		t.Errorf("the object has SHA-256 %s, the file has %s", got, want)
	}
	// The last block revoked the certificate.
	_, stderr, err := try(t, dir, s.environ(), "bash", "-c", `
		AWS_ACCESS_KEY_ID=$(jq -r .credentials.accessKeyId credentials.json) \
		AWS_SECRET_ACCESS_KEY=$(jq -r .credentials.secretAccessKey credentials.json) \
		AWS_SESSION_TOKEN=$(jq -r .credentials.sessionToken credentials.json) \
		aws s3 cp file_y s3://uploads/thing_x/late`)
	if err == nil || !strings.Contains(stderr, "AccessDenied") {
		t.Errorf("after the revocation: %v %s", err, stderr)
	}
	_, err = s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: new("uploads"), Key: new("thing_x/late")})
	wantError(t, "HEAD of the late object", err, 404, "NotFound")
}
