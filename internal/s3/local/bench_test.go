package local_test

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/s3"
)

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{10 << 10, 1 << 20} {
		for _, inline := range []int{-1, 64 << 10} {
			b.Run(fmt.Sprintf("size=%d/inline=%d", size, inline), func(b *testing.B) {
				w := newWorld(b, inline)
				body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
				var n atomic.Int64
				b.SetBytes(int64(size))
				b.SetParallelism(4)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						in := &s3.PutInput{Bucket: w.bucket, Key: fmt.Sprintf("k%d", n.Add(1)%64)}
						in.Body, in.Size = bytes.NewReader(body), int64(size)
						if _, err := w.engine.Put(b.Context(), in); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{10 << 10, 1 << 20} {
		for _, inline := range []int{-1, 64 << 10} {
			b.Run(fmt.Sprintf("size=%d/inline=%d", size, inline), func(b *testing.B) {
				w := newWorld(b, inline)
				for i := range 64 {
					w.put(b, fmt.Sprintf("k%d", i), bytes.Repeat([]byte("0123456789abcdef"), size/16))
				}
				var n atomic.Int64
				b.SetBytes(int64(size))
				b.SetParallelism(4)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						o, err := w.engine.Get(b.Context(), &s3.GetInput{Bucket: w.bucket, Key: fmt.Sprintf("k%d", n.Add(1)%64)})
						if err != nil {
							b.Error(err)
							return
						}
						if _, err := o.Body.WriteTo(io.Discard); err != nil {
							b.Error(err)
						}
						_ = o.Body.Close()
					}
				})
			})
		}
	}
}
