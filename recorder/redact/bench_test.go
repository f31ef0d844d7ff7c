package redact

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// prose is text as programs print it, without anchors.
func prose(n int) []byte {
	words := strings.Fields(`total drwxr-xr-x root src main.go error warning the of connection established
		INFO request served in 12ms status=200 path=/api/v1/items GET 10.0.0.7 building package ok`)
	rnd := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for col := 0; b.Len() < n; {
		w := words[rnd.IntN(len(words))]
		b.WriteString(w)
		if col += len(w) + 1; col > 100 {
			b.WriteString("\r\n")
			col = 0
		} else {
			b.WriteByte(' ')
		}
	}
	return []byte(b.String())
}

// coloured is what ls --color and git log print.
func coloured(n int) []byte {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "\x1b[%dm%06d\x1b[m \x1b[01;34mdirectory\x1b[0m  \x1b[38;5;%dmREADME.md\x1b[K\x1b[0m\r\n", 30+i%8, i, i%256)
	}
	return []byte(b.String())
}

// fullScreen is what a monitor like htop paints: rows by address.
func fullScreen(n int) []byte {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[32m%5d root\x1b[20G\x1b[m%4d.%d  \x1b[1m/usr/bin/program --option %d\x1b[m\x1b[K", 1+i%50, i, i%100, i%10, i)
	}
	return []byte(b.String())
}

func benchFeed(b *testing.B, c Config, data []byte) {
	r := compile(b, c)
	m := r.NewMasker(120)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for p := data; len(p) > 0; {
			n := min(len(p), 32<<10)
			m.Feed(p[:n], t0)
			p = p[n:]
		}
	}
}

func BenchmarkFeedPlain(b *testing.B) { benchFeed(b, Config{}, prose(1<<20)) }

func BenchmarkFeedEscapes(b *testing.B) { benchFeed(b, Config{}, coloured(1<<20)) }

func BenchmarkFeedFullScreen(b *testing.B) { benchFeed(b, Config{}, fullScreen(1<<20)) }

func BenchmarkFeedUnicode(b *testing.B) {
	benchFeed(b, Config{}, []byte(strings.Repeat("Привет, 日本語のテキスト ├── naïve\r\n", 20000)))
}

func BenchmarkFeedNoNewlines(b *testing.B) {
	benchFeed(b, Config{}, []byte(strings.Repeat("y", 1<<20)))
}

// BenchmarkFeedSecrets is the worst that is likely: every line has one.
func BenchmarkFeedSecrets(b *testing.B) {
	benchFeed(b, Config{}, []byte(strings.Repeat("2026-01-02 login ok password="+keySec+" id="+keyID+"\r\n", 10000)))
}

// BenchmarkFeedCustom has rules with and without a literal to wait for.
func BenchmarkFeedCustom(b *testing.B) {
	benchFeed(b, Config{Custom: []CustomRule{{"a", `ACME-[0-9]+`}, {"b", `\b[0-9]{13,16}\b`}}}, prose(1<<20))
}

func BenchmarkKeystroke(b *testing.B) {
	m := compile(b, Config{}).NewMasker(120)
	line := bytewise("ls -la /usr/local/share\r\n")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Feed([]byte(line[i%len(line)]), t0)
	}
}

// BenchmarkFeedSpinner moves the cursor after every character.
func BenchmarkFeedSpinner(b *testing.B) {
	benchFeed(b, Config{}, []byte(strings.Repeat("downloading some file, please wait... |\b/\b-\b\\\b|\b/\b-\b\\\r", 10000)))
}
