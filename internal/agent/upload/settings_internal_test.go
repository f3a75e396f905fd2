package upload

import "testing"

func TestObjectURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ endpoint, bucket, want string }{
		{"https://s3.eu-west-1.amazonaws.com", "fleet", "https://fleet.s3.eu-west-1.amazonaws.com/a/b%20c"},
		{"https://s3.eu-west-1.amazonaws.com", "my.fleet", "https://s3.eu-west-1.amazonaws.com/my.fleet/a/b%20c"},
		{"https://s3.cn-north-1.amazonaws.com.cn", "fleet", "https://fleet.s3.cn-north-1.amazonaws.com.cn/a/b%20c"},
		{"https://sekisho.example:4566", "fleet", "https://sekisho.example:4566/fleet/a/b%20c"},
		{"http://127.0.0.1:4566", "fleet", "http://127.0.0.1:4566/fleet/a/b%20c"},
	} {
		s := Settings{Endpoint: c.endpoint}
		if got := s.objectURL(c.bucket, "a/b c"); got != c.want {
			t.Errorf("%s in %s: %s", c.bucket, c.endpoint, got)
		}
	}
}

func TestPartSize(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct{ set, size, want int64 }{
		{0, 1, 8 * mib},
		{0, 512*mib - 1, 8 * mib},
		{0, 512 * mib, 16 * mib},
		{0, 1 << 40, 105 * mib}, // 10,000 parts at most
		{5 * mib, 512 * mib, 5 * mib},
		{64 * mib, 1, 64 * mib},
	} {
		s := DefaultSettings()
		s.PartSize = c.set
		if got := s.partSize(c.size); got != c.want || got*maxParts < c.size {
			t.Errorf("--part-size %d, a file of %d: parts of %d, want %d", c.set, c.size, got, c.want)
		}
	}
}
