package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// The table is one line for each, whatever devices call their files.
func TestUploadsTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := printUploads(&b, []json.RawMessage{
		[]byte(`{"status":"completed","thing":"camera-7","door":"s3","bucket":"fleet","key":"camera-7/` + strings.Repeat("2026/", 30) + `a.jpg","size":1610612736,
			"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","finished":"2026-11-28T14:00:01Z"}`),
		[]byte(`{"status":"failed","door":"device","topic":"file/upload/failed","name":"ü\n\u001b[2Jx","size":-1,"reason":"no\tnetwork","finished":"2026-11-28T14:00:00Z"}`),
		[]byte(`{"status":"completed","thing":"pump","door":"inline","topic":"file/upload","name":"n","size":5,"finished":"2026-11-28T14:00:00Z"}`),
	}); err != nil {
		t.Fatal(err)
	}
	const want = `FINISHED              STATUS     THING     DOOR          SIZE  SHA256        WHAT                                                          REASON
2026-11-28T14:00:01Z  completed  camera-7  s3         1.5 GiB  2cf24dba5fb0  s3://fleet/camera-7/2026/2026/…026/2026/2026/2026/2026/a.jpg  
2026-11-28T14:00:00Z  failed     -         device           -  -             file/upload/failed ü??[2Jx                                    no?network
2026-11-28T14:00:00Z  completed  pump      inline         5 B  -             file/upload n                                                 
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	for n, want := range map[int64]string{-1: "-", 0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 20480: "20.0 KiB", 1<<20 - 1: "1.0 MiB", 5 << 40: "5.0 TiB", 1 << 60: "1024.0 PiB"} {
		if got := sizeOf(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
