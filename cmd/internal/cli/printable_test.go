package cli_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                         "",
		"photo 1.jpg":              "photo 1.jpg",
		"ビデオ\u3000é.mp4":           "ビデオ\u3000é.mp4",
		`back\slash'quote"`:        `back\slash'quote"`,
		"\x1b]0;title\a\x1b[2J":    `\x1b]0;title\a\x1b[2J`,
		"line\nline\r\tx\x00\x7f":  `line\nline\r\tx\x00\x7f`,
		"c1 \u009b31m":             `c1 \u009b31m`,
		"gpj.\u202eexe":            `gpj.\u202eexe`,
		"latin \xe9":               `latin \xe9`,
		"a real \ufffd, \x1b":      "a real \ufffd, " + `\x1b`,
		"line separator \u2028end": `line separator \u2028end`,
	} {
		if got := cli.Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J")
	f.Fuzz(func(t *testing.T, s string) {
		got := cli.Printable(s)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return !unicode.IsGraphic(r) }) >= 0 {
			t.Errorf("%q became %q", s, got)
		}
	})
}
