//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestRotateUnderLoad: `sekisho keys rotate` while devices fetch credentials
// and upload fails none of them; with --compromised all that is out is refused,
// and a device that asks again goes on.
func TestRotateUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t)
	bin, err := process.Binary()
	check(t, err)
	bucket := s.bucket(t)
	_, role := s.role(t, trustCredentials(), document(allow("s3:PutObject", "arn:aws:s3:::"+bucket+"/*")))
	alias, aliasARN := s.alias(t, role)
	d := s.device(t, aliasARN)
	put := func(ctx context.Context, c *s3.Client) error {
		key := d.thing + "/x"
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(make([]byte, 100_000))})
		return err
	}
	client := func() *s3.Client { return s3.NewFromConfig(s.config(d.session(t, alias)), pathStyle) }
	old := client()
	check(t, put(t.Context(), old))
	var stop atomic.Bool
	var served atomic.Int64
	var load sync.WaitGroup
	for _, job := range []func() error{
		func() error { return put(t.Context(), old) },
		func() error { return put(t.Context(), client()) },
		func() error { _, err := d.fetch(t.Context(), alias); return err },
	} {
		load.Go(func() {
			for !stop.Load() {
				if err := job(); err != nil {
					t.Error(err)
					return
				}
				served.Add(1)
			}
		})
	}
	for range 3 {
		for before := served.Load(); served.Load() < before+30 && !t.Failed(); {
			time.Sleep(5 * time.Millisecond)
		}
		runIn(t, t.TempDir(), s.environ(), bin, "keys", "rotate")
	}
	stop.Store(true)
	load.Wait()
	runIn(t, t.TempDir(), s.environ(), bin, "keys", "rotate", "--compromised")
	wantError(t, "a token of before", put(t.Context(), old), 400, "InvalidToken")
	check(t, put(t.Context(), client()))
}
