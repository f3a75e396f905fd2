package upload_test

import (
	"bytes"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/agent/upload"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

func TestSmallAndLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	small, smallContent := w.file("photo.jpg", 50<<10)
	middle, middleContent := w.file("clip.mp4", 50<<10+1)
	big, bigContent := w.file("ビデオ 1.mp4", 20*mib+123)
	a := w.agent(nil)
	if n := a.upload(small, middle, big); n != 0 {
		t.Fatalf("%d failed: %+v", n, a.told(upload.Failed))
	}
	got := map[string]heard{}
	for range 3 {
		h := w.hear()
		got[h.Name] = h
	}
	w.silence()
	for name, content := range map[string][]byte{"photo.jpg": smallContent, "clip.mp4": middleContent, "ビデオ 1.mp4": bigContent} {
		m := got[name]
		if m.topic != "file/upload" || m.Size == nil || *m.Size != int64(len(content)) || m.SHA256 != digest(content) || m.Thing != thing || len(m.UploadID) != 32 {
			t.Errorf("%s: %s %.300s", name, m.topic, m.raw)
		}
	}
	if m := got["photo.jpg"]; m.Type != "file_content" || !bytes.Equal(inlineContent(t, m.Message), smallContent) {
		t.Errorf("inline: %.100s", m.raw)
	}
	base := "https://" + w.server.APIAddr() + "/" + servertest.Bucket + "/camera-1/"
	if m := got["clip.mp4"]; m.Type != "s3_url" || m.URL != base+"clip.mp4" {
		t.Errorf("url: %s", m.raw)
	}
	if m := got["ビデオ 1.mp4"]; m.URL != base+"%E3%83%93%E3%83%87%E3%82%AA%201.mp4" {
		t.Errorf("url: %s", m.raw)
	}
	w.checkObject("camera-1/clip.mp4", middleContent)
	w.checkObject("camera-1/ビデオ 1.mp4", bigContent)
	if left := a.spool.Records(); len(left) != 0 {
		t.Errorf("left in the spool: %+v", left)
	}
}
