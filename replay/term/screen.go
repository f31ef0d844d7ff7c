package term

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	clearScreen = "\x1b[H\x1b[2J"
	// toCorner begins what is drawn over the recording; backFrom ends it.
	toCorner = "\x1b7\x1b[?6l"
	backFrom = "\x1b[0m\x1b8"
)

// A passing status line goes after passing. To repair what it has hidden,
// everything so far is shown again, so there is none over more than fewBytes.
const (
	passing  = 1500 * time.Millisecond
	fewBytes = 256 << 10
)

// bottom writes one line at the foot of the viewer's terminal.
func (p *player) bottom(line string) {
	rows, cols := p.o.Rows, p.o.Cols
	if p.keys == nil || rows <= 0 || cols <= 0 {
		return
	}
	if r := []rune(line); len(r) > cols {
		line = string(r[:cols])
	}
	p.overlay = true
	p.out(fmt.Sprintf("%s\x1b[%d;1H\x1b[0;7m%s\x1b[K%s", toCorner, rows, line, backFrom))
}

// say shows the status line: until it goes on when it is paused, and otherwise
// in passing.
func (p *player) say() {
	if p.paused {
		p.status()
		return
	}
	if p.shown <= fewBytes && p.keys != nil {
		p.status()
		p.hide = p.o.Now().Add(passing)
	}
}

func (p *player) status() {
	what := "playing"
	if p.paused {
		what = "paused"
	}
	if p.next == nil && p.end != nil {
		what = "the end"
		if p.end != io.EOF {
			what = "the recording is cut off here"
		}
	}
	length := ""
	if p.o.Length > 0 {
		length = " / " + clock(p.o.Length)
	}
	size := "" // of the recording, when it does not fit
	if p.cols > p.o.Cols || p.rows > p.o.Rows {
		size = fmt.Sprintf("  recorded at %dx%d", p.cols, p.rows)
	}
	p.bottom(fmt.Sprintf(" %s%s  %gx  %s%s  (space %s, ? helps, q quits) ", clock(p.pos), length, p.speed, what, size, p.spaceDoes()))
}

func (p *player) spaceDoes() string {
	if p.paused {
		return "plays"
	}
	return "pauses"
}

var helpLines = []string{
	"space    pause or play", ".        one step further", "← →      5 seconds back or on", "↑ ↓ + -  faster or slower",
	"[ ]      marker before or after", "0 … 9    0 % … 90 %", "q        quit",
}

// help covers the middle of the screen and pauses.
func (p *player) help() {
	p.hold()
	p.paused, p.hide = true, time.Time{}
	const width = 38
	if p.o.Rows < len(helpLines)+4 || p.o.Cols < width {
		p.bottom("space . ← → ↑ ↓ [ ] 0-9 q")
		return
	}
	if p.keys == nil {
		return
	}
	p.overlay = true
	top, left := (p.o.Rows-len(helpLines)-2)/2, (p.o.Cols-width)/2+1
	var b strings.Builder
	b.WriteString(toCorner)
	for i, line := range append(append([]string{""}, helpLines...), "") {
		pad := width - 2 - len([]rune(line))
		fmt.Fprintf(&b, "\x1b[%d;%dH\x1b[0;7m  %s%s", top+i, left, line, strings.Repeat(" ", pad))
	}
	b.WriteString(backFrom)
	p.out(b.String())
	p.status()
}

// clock writes a position as people read it.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// leave gives the terminal back: as the recording has not changed it, and with
// the viewer's prompt below what was shown.
func (p *player) leave() {
	p.out(p.clean.Restore())
	if p.o.In != nil && p.o.Rows > 0 {
		p.out(fmt.Sprintf("\x1b[r\x1b[%d;1H\x1b[K", p.o.Rows))
	}
}
