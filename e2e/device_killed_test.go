//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
)

// TestDeviceKilled: an upload is killed in the middle, while another agent finds
// that it has the spool; and one that is told nothing takes it up.
func TestDeviceKilled(t *testing.T) {
	t.Parallel()
	bin, err := process.Binary()
	check(t, err)
	bucket := shared.bucket(t)
	_, roleARN := shared.role(t, trustCredentials(), document(allow(
		[]string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}, "arn:aws:s3:::"+bucket+"/${credentials-iot:ThingName}/*")))
	alias, _ := shared.alias(t, roleARN)
	thing, dir := unique("camera"), t.TempDir()
	out := filepath.Join(dir, "out")
	listener := shared.device(t)
	listener.grant(t, everything())
	runIn(t, dir, shared.environ(), bin, "enroll", thing, "--role-alias", alias, "--uploads", bucket, "--out", out)
	ear := listener.open(t, session{id: listener.thing})
	_, err = ear.subscribe(1, "file/upload", "file/upload/failed")
	check(t, err)

	const size = 40 << 20
	content := make([]byte, size)
	_, _ = rand.Read(content)
	check(t, os.WriteFile(filepath.Join(dir, "big.bin"), content, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "small.txt"), []byte("small"), 0o600))
	env := []string{"HOME=" + dir}
	args := []string{"device", "upload", "--config", filepath.Join(out, "device.json")}

	first := exec.CommandContext(t.Context(), bin, append(args, "--bandwidth", "8MiB", "--part-size", "5MiB", "big.bin")...)
	first.Dir, first.Env = dir, env
	var said bytes.Buffer
	first.Stderr = &said
	check(t, first.Start())
	there := awaitTwoParts(t, bucket)
	for _, second := range [][]string{append(args, "small.txt"), {"device", "watch", "--config", filepath.Join(out, "device.json"), dir}} {
		_, stderr, err := try(t, dir, env, bin, second...)
		wantExit(t, err, 1)
		if !strings.Contains(stderr, fmt.Sprintf("process %d) uses the spool", first.Process.Pid)) {
			t.Errorf("a second agent said %q", stderr)
		}
	}
	check(t, first.Process.Kill())
	if err := first.Wait(); err == nil {
		t.Fatalf("it was not killed but ended: %s", &said)
	}
	_, err = shared.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String(thing + "/big.bin")})
	if err == nil {
		t.Fatal("the object is there already")
	}

	stdout, stderr, err := try(t, dir, env, bin, args...)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	resumed := regexp.MustCompile(`big\.bin: resumed at (\d+) of (\d+) bytes`).FindStringSubmatch(stderr)
	if resumed == nil || resumed[2] != strconv.Itoa(size) {
		t.Fatalf("it said %q", stderr)
	}
	if n, err := strconv.Atoi(resumed[1]); err != nil || n < there {
		t.Errorf("resumed at %s, S3 had %d bytes before", resumed[1], there)
	}
	got, err := shared.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(thing + "/big.bin")})
	check(t, err)
	defer shut(t, got.Body)
	body, err := io.ReadAll(got.Body)
	check(t, err)
	if !bytes.Equal(body, content) {
		t.Errorf("the object differs: %d bytes", len(body))
	}
	told := noticesOf(t, ear, thing)
	if len(told) != 1 {
		t.Fatalf("told: %+v", told)
	}
	notice := told[0]
	sum := sha256.Sum256(content)
	// The object was begun by the first run, with its upload id.
	if notice.SHA256 != hex.EncodeToString(sum[:]) || notice.UploadID == "" || notice.UploadID != got.Metadata["sekisho-upload-id"] {
		t.Errorf("%+v, the object has %v", notice, got.Metadata)
	}
}

// noticesOf are the messages of a thing that are on their way.
func noticesOf(t *testing.T, ear *link, thing string) (list []upload.Message) {
	t.Helper()
	for {
		m, err := ear.receive(2 * time.Second)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return list
		}
		check(t, err)
		var notice upload.Message
		check(t, json.Unmarshal(m.Payload, &notice))
		if notice.Thing == thing {
			list = append(list, notice)
		}
	}
}

// awaitTwoParts waits until S3 has two parts of an upload and returns their bytes.
func awaitTwoParts(t *testing.T, bucket string) (size int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		list, err := shared.s3.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
		check(t, err)
		if len(list.Uploads) == 0 {
			continue
		}
		parts, err := shared.s3.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &bucket, Key: list.Uploads[0].Key, UploadId: list.Uploads[0].UploadId})
		check(t, err)
		if len(parts.Parts) < 2 {
			continue
		}
		for _, p := range parts.Parts {
			size += int(*p.Size)
		}
		return size
	}
	t.Fatal("no parts came")
	return 0
}
