package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

func BenchmarkS3(b *testing.B) {
	for _, size := range []int{10 << 10, 1 << 20} {
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			b.Run(fmt.Sprintf("%s/%d", method, size), func(b *testing.B) {
				s := newS3Server(b, "us-east-1")
				s.bucket(b, "bucket")
				body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}}
				signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
				who := aws.Credentials{AccessKeyID: "root", SecretAccessKey: "secret-of-root"}
				call := func(method string, key int64, body []byte) {
					r, err := http.NewRequestWithContext(b.Context(), method, fmt.Sprintf("%s/bucket/k%d", s.plain.URL, key%64), bytes.NewReader(body))
					if err != nil {
						b.Fatal(err)
					}
					sum := sha256.Sum256(body)
					hash := hex.EncodeToString(sum[:])
					r.Header.Set("X-Amz-Content-Sha256", hash)
					if err := signer.SignHTTP(b.Context(), who, r, hash, "s3", "us-east-1", time.Now()); err != nil {
						b.Fatal(err)
					}
					res, err := client.Do(r)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
						b.Error(res.Status, err)
					}
					_ = res.Body.Close()
				}
				for i := range int64(64) {
					call(http.MethodPut, i, body)
				}
				var n atomic.Int64
				b.SetBytes(int64(size))
				b.SetParallelism(4)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if method == http.MethodGet {
							call(method, n.Add(1), nil)
						} else {
							call(method, n.Add(1), body)
						}
					}
				})
			})
		}
	}
}
