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
