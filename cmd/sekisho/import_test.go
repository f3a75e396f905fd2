package main

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

type counted func(*http.Request) (*http.Response, error)

// Do implements aws.HTTPClient.
func (c counted) Do(r *http.Request) (*http.Response, error) { return c(r) }

func TestCallsArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		p := &paced{every: 100 * time.Millisecond, client: counted(func(*http.Request) (*http.Response, error) {
			at = append(at, time.Since(begin))
			return &http.Response{Body: http.NoBody}, nil
		})}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			res, err := p.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
		time.Sleep(time.Second)
		if res, err := p.Do(r); err == nil {
			_ = res.Body.Close()
		}
		for i, want := range []time.Duration{0, 100, 200, 300, 1300} {
			if at[i] != want*time.Millisecond {
				t.Errorf("call %d after %s, want %d ms", i, at[i], want)
			}
		}
	})
}
