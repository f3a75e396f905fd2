//go:build e2e

package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestDocument001 runs the document with the AWS CLI and curl, then its Ruby
// program over HTTP and HTTPS.
func TestDocument001(t *testing.T) {
	t.Parallel()
	need(t, "aws", "curl", "ruby")
	s := start(t)
	dir := t.TempDir()
	out := runIn(t, dir, s.environ(), testdata(t, "document001.sh"))
	for _, want := range []string{
		`"RoleName": "s3_role"`, `"PolicyName": "s3_access_policy"`, `"thingName": "thing_x"`,
		"arn:aws:iot:ap-northeast-1:000000000000:rolealias/s3_role_alias",
		"arn:aws:iot:ap-northeast-1:000000000000:thing/thing_x",
		s.credentialEndpoint(),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the script's output lacks %q:\n%s", want, out)
		}
	}
	var answer struct {
		Credentials map[string]string `json:"credentials"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "credentials.json"))
	check(t, err)
	check(t, json.Unmarshal(b, &answer))
	if len(answer.Credentials) != 4 || !strings.HasPrefix(answer.Credentials["accessKeyId"], "ASIA") {
		t.Errorf("credentials: keys %v", answer.Credentials)
	}
	want := fileSum(t, filepath.Join(dir, "file_y"))
	if got := s.objectSum(t, "2heozhb6", "file_y_by_cli"); got != want {
		t.Errorf("file_y_by_cli has SHA-256 %s, the file has %s", got, want)
	}

	root, err := os.ReadFile(s.Env["SEKISHO_ROOT_CA"])
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "AmazonRootCA1.pem"), root, 0o600))
	for _, c := range []struct {
		name string
		env  []string
	}{
		{"http by address", []string{"S3_ENDPOINT_URL=" + s.Env["AWS_ENDPOINT_URL"]}},
		{"https by address", []string{"S3_ENDPOINT_URL=" + s.httpsEndpoint(t, "127.0.0.1")}},
		{"https by name", []string{"S3_ENDPOINT_URL=" + s.httpsEndpoint(t, "localhost"), "S3_PATH_STYLE=1"}},
	} {
		t.Run("ruby "+c.name, func(t *testing.T) {
			env := append(s.environ("ENDPOINT_NAME="+s.credentialEndpoint()), c.env...)
			runIn(t, dir, env, "ruby", testdata(t, "document001.rb"))
			if got := s.objectSum(t, "2heozhb6", "file_y"); got != want {
				t.Errorf("file_y has SHA-256 %s, the file has %s", got, want)
			}
			_, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: new("2heozhb6"), Key: new("file_y")})
			check(t, err)
		})
	}
}

func fileSum(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	defer shut(t, f)
	return sum(t, f)
}

func sum(t testing.TB, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	_, err := io.Copy(h, r)
	check(t, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// objectSum reads an object as the administrator.
func (s *server) objectSum(t testing.TB, bucket, key string) string {
	t.Helper()
	out, err := s.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	check(t, err)
	defer shut(t, out.Body)
	return sum(t, out.Body)
}
