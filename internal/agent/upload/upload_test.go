//go:build !windows

package upload_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
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

// Plain messages are those of the programs that devices had before.
func TestPlain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	empty, _ := w.file("empty", 0)
	small, content := w.file("photo.jpg", 5<<10)
	big, _ := w.file("clip.mp4", mib)
	a := w.agent(func(p *plan) { p.settings.Plain = true })
	want := map[string]bool{
		`{"type":"file_content","content":""}`:                                                                               true,
		`{"type":"file_content","content":"` + base64.StdEncoding.EncodeToString(content) + `"}`:                             true,
		`{"type":"s3_url","url":"https://` + w.server.APIAddr() + "/" + servertest.Bucket + "/" + thing + "/" + `clip.mp4"}`: true,
	}
	if n := a.upload(empty, small, big); n != 0 {
		t.Fatalf("%d failed: %+v", n, a.told(upload.Failed))
	}
	for range 3 {
		if h := w.hear(); !want[h.raw] {
			t.Errorf("heard %.200s", h.raw)
		} else {
			delete(want, h.raw)
		}
	}
	w.silence()
}

// An agent that dies in mid-upload is followed by one that sends what is missing
// and nothing else. The network is cut, then the agent is stopped.
func TestResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.meter()
	big, content := w.file("big.bin", 40*mib)
	ctx, kill := context.WithCancel(t.Context())
	first := w.agent(func(p *plan) {
		p.s3Dial, p.settings.Concurrency, p.settings.PartSize = m.dial, 1, 5*mib
		p.tell = func(e upload.Event) {
			if e.Kind == upload.Retry {
				kill()
			}
		}
	})
	m.cutAt = 17 * mib
	_, problems := first.Accept([]upload.File{{Path: big}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := first.Run(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	first.close()
	before := m.passed()
	second := w.agent(func(p *plan) { p.s3Dial, p.settings.PartSize = m.dial, 8*mib }) // the first one's part size goes on
	if n := second.upload(); n != 0 {
		t.Fatal(second.told(upload.Failed))
	}
	resumed := second.told(upload.Resumed)
	if len(resumed) != 1 || resumed[0].Sent != 15*mib || resumed[0].Total != 40*mib {
		t.Fatalf("resumed: %+v", resumed)
	}
	if sent := m.passed() - before; sent < 25*mib || sent > 25*mib+mib {
		t.Errorf("%d bytes were sent again or too few, of 25 MiB that were missing: %d", sent-25*mib, sent)
	}
	if h := w.hear(); h.SHA256 != digest(content) || h.UploadID != resumed[0].Record.ID {
		t.Error(h.raw)
	}
	w.silence()
	w.checkObject("camera-1/big.bin", content)
}

func TestChangedFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.file("log.bin", 20*mib)
	var once sync.Once
	later := bytes.Repeat([]byte("x"), 21*mib)
	a := w.agent(func(p *plan) {
		p.settings.Concurrency = 1
		p.tell = func(e upload.Event) {
			if e.Kind == upload.Progress {
				once.Do(func() {
					if err := os.WriteFile(path, later, 0o600); err != nil {
						t.Error(err)
					}
				})
			}
		}
	})
	if n := a.upload(path); n != 0 {
		t.Fatal(a.told(upload.Failed))
	}
	if len(a.told(upload.Restart)) == 0 {
		t.Error("nothing was said of the change")
	}
	if h := w.hear(); h.SHA256 != digest(later) || *h.Size != int64(len(later)) {
		t.Error(h.raw)
	}
	w.silence()
	w.checkObject("camera-1/log.bin", later)
}

// What trying again cannot change ends at once, and is told.
func TestFinal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*plan)
		want   string
	}{
		"alias":  {func(p *plan) { p.alias = "no-such-alias" }, "credential endpoint"},
		"bucket": {func(p *plan) { p.settings.Bucket = "gone-bucket" }, "the bucket must be there"},
		"prefix": {func(p *plan) { p.settings.Key = "others/{name}" }, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			path, _ := w.file("f.bin", mib)
			a := w.agent(c.change)
			if n := a.upload(path); n != 1 {
				t.Fatalf("%d failed", n)
			}
			h := w.hear()
			if h.topic != "file/upload/failed" || h.Type != "upload_failed" || !strings.Contains(h.Reason, c.want) || h.Name != "f.bin" {
				t.Errorf("%s %s", h.topic, h.raw)
			}
			w.silence()
			if left := a.spool.Records(); len(left) != 0 {
				t.Errorf("left: %+v", left)
			}
		})
	}
}

func TestVanished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.file("f.bin", 100)
	a := w.agent(nil)
	if _, problems := a.Accept([]upload.File{{Path: path}, {Path: filepath.Join(w.dir, "none")}, {Path: w.dir}}); len(problems) != 2 {
		t.Fatal(problems)
	}
	w.must(os.Remove(path))
	if n := a.upload(); n != 1 {
		t.Fatal(n)
	}
	if h := w.hear(); h.Type != "upload_failed" {
		t.Error(h.raw)
	}
}

// A revoked certificate may neither upload nor say so: its record waits.
func TestRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path, _ := w.file("f.bin", 100)
	_, err := w.server.IoT.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &w.device.CertificateID, NewStatus: "REVOKED"})
	w.must(err)
	a := w.agent(func(p *plan) { p.settings.GiveUpAfter = 2 * time.Second })
	if n := a.upload(path); n != 1 {
		t.Fatal(n)
	}
	if left := a.spool.Records(); len(left) != 1 || left[0].State != spool.Failed {
		t.Errorf("left: %+v", left)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	folder := filepath.Join(w.dir, "in")
	w.must(os.MkdirAll(filepath.Join(folder, "cam"), 0o700))
	a := w.agent(func(p *plan) { p.settings.Persist = true })
	ctx, stop := context.WithCancel(t.Context())
	found := make(chan spool.Record)
	var group sync.WaitGroup
	group.Go(func() { _, _ = a.Run(ctx, found) })
	group.Go(func() {
		if err := a.Watch(ctx, upload.Watcher{Dir: folder, Delete: true, Poll: 20 * time.Millisecond, Settle: 300 * time.Millisecond}, found); err != nil {
			t.Error(err)
		}
	})
	defer group.Wait()
	defer stop()
	growing := filepath.Join(folder, "cam", "grow.txt")
	f, err := os.Create(growing)
	w.must(err)
	for range 10 { // it must not be taken before it is whole
		_, err = f.WriteString("line\n")
		w.must(err)
		time.Sleep(50 * time.Millisecond)
	}
	w.must(f.Close())
	w.must(os.WriteFile(filepath.Join(folder, "clip.part"), []byte("half"), 0o600))
	h := w.hear()
	if h.Name != "cam/grow.txt" || string(inlineContent(t, h.Message)) != strings.Repeat("line\n", 10) {
		t.Errorf("%s", h.raw)
	}
	w.must(os.Rename(filepath.Join(folder, "clip.part"), filepath.Join(folder, "clip.txt")))
	if h = w.hear(); h.Name != "clip.txt" {
		t.Error(h.raw)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, one := os.Stat(growing)
		_, two := os.Stat(filepath.Join(folder, "clip.txt"))
		if os.IsNotExist(one) && os.IsNotExist(two) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the files were not deleted")
		}
	}
	w.silence()
}
