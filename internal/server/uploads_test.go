package server

import (
	"slices"
	"testing"
)

// Failures are told one level below the files, or where the operator says.
func TestFailedTopics(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ topics, failed, want []string }{
		{[]string{"file/upload"}, nil, []string{"file/upload/failed"}},
		{[]string{"a/+", "b/#", "#"}, nil, []string{"a/+/failed", "b/#", "#"}},
		{[]string{"a"}, []string{"x/+"}, []string{"x/+"}},
	} {
		o := DefaultOptions()
		o.UploadTopics, o.UploadFailedTopics = c.topics, c.failed
		if got := o.failedTopics(); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.topics, got, c.want)
		}
		if err := o.validateUploads(); err != nil {
			t.Error(err)
		}
	}
}
