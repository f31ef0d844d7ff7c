package castgen

import (
	"fmt"
	"iter"
	"time"
)

// Screen is a full-screen program of 132 columns and 43 rows: an editor, then a
// process viewer, and so on in turn, redrawing what changes, until there are n
// bytes of output.
func Screen(seed uint64, n int) iter.Seq[Chunk] {
	s := &screen{}
	return generate(seed^0x5c3ee, n, s.step)
}

const screenRows = 43

type screen struct {
	left int  // steps until the next program
	edit bool // an editor, and no process viewer
	top  int  // the editor's first line
	text []string
	rows [screenRows]process
}

type process struct {
	pid, user, command string
	cpu, mem, secs     int
}

func (s *screen) step(g *generator) {
	if s.left--; s.left < 0 {
		s.left, s.edit = g.span(20, 80), !s.edit
		s.open(g)
		return
	}
	if s.edit {
		s.scroll(g)
	} else {
		s.refresh(g)
	}
}

// open begins a program and draws all of it.
func (s *screen) open(g *generator) {
	g.printf("\x1b[?1049h\x1b[?1h\x1b=\x1b[2J\x1b[H\x1b[?25l")
	if s.edit {
		s.top, s.text = 0, nil
		for i := range screenRows - 2 {
			s.line(g, i, i)
		}
		s.status(g)
		return
	}
	for i := range s.rows {
		s.rows[i] = process{
			pid: fmt.Sprint(g.span(1, 99999)), user: g.pick("root", "deploy", "postgres", "www-data"),
			command: g.pick("/usr/sbin/"+g.zipf(services), "/usr/bin/"+g.word()+" --"+g.word()+"="+g.path()),
			cpu:     g.intn(300), mem: g.intn(80), secs: g.intn(9000),
		}
	}
	s.refresh(g)
}

// source returns line n of the text that is edited, coloured.
func (s *screen) source(g *generator, n int) string {
	for len(s.text) <= n {
		var t string
		switch g.intn(5) {
		case 0:
			t = "\x1b[38;5;242m// " + g.phrase(4, 12) + "\x1b[0m"
		case 1:
			t = ""
		case 2:
			t = fmt.Sprintf("\x1b[38;5;130mfunc\x1b[0m %s(%s \x1b[32m*%s\x1b[0m) \x1b[32merror\x1b[0m {", g.word(), g.word(), g.word())
		default:
			t = fmt.Sprintf("    %s.%s(\x1b[35m\"%s\"\x1b[0m, %s, \x1b[35m%d\x1b[0m)", g.word(), g.word(), g.phrase(1, 3), g.word(), g.intn(5000))
		}
		s.text = append(s.text, t)
	}
	return s.text[n]
}

func (s *screen) line(g *generator, row, n int) {
	g.printf("\x1b[%d;1H\x1b[38;5;130m%4d \x1b[0m%s\x1b[K", row+1, n+1, s.source(g, n))
}

func (s *screen) status(g *generator) {
	g.printf("\x1b[%d;1H\x1b[7m %s [+] \x1b[0m\x1b[%d;110H%d,1-8%10s%d%%\x1b[%d;8H\x1b[?25h", screenRows-1, "server.go", screenRows, s.top+1, "", s.top/10, g.span(1, 40))
}

// scroll is the editor doing what a key asks for.
func (s *screen) scroll(g *generator) {
	switch g.intn(10) {
	case 0: // a page on: all is drawn again
		g.wait(100*time.Millisecond, 3*time.Second)
		g.emit(true, []byte("\x06"))
		g.wait(time.Millisecond, 5*time.Millisecond)
		s.top += screenRows - 4
		g.printf("\x1b[?25l")
		for i := range screenRows - 2 {
			s.line(g, i, s.top+i)
		}
		s.status(g)
	case 1, 2, 3: // a line on
		g.wait(30*time.Millisecond, 500*time.Millisecond)
		g.emit(true, []byte("j"))
		g.wait(time.Millisecond, 3*time.Millisecond)
		s.top++
		g.printf("\x1b[?25l\x1b[1;%dr\x1b[%d;1H\r\n\x1b[1;%dr", screenRows-2, screenRows-2, screenRows)
		s.line(g, screenRows-3, s.top+screenRows-3)
		s.status(g)
	default: // typing
		row, col := g.span(1, screenRows-2), g.span(6, 60)
		for i, c := range g.word() {
			g.key(string(c), fmt.Sprintf("\x1b[?25l%c\x1b[%d;%dH\x1b[K\x1b[%d;%dH\x1b[?25h", c, screenRows, 1, row, col+i))
		}
	}
}

// refresh is the process viewer's redraw, every two seconds.
func (s *screen) refresh(g *generator) {
	g.at += 2*time.Second + time.Duration(g.intn(4000))*time.Microsecond
	g.printf("\x1b[H")
	for cpu := range 4 {
		bars := g.intn(40)
		g.printf("\x1b[36m%3d\x1b[39m[\x1b[32m%-*.*s\x1b[31m%3d.%d%%\x1b[39m]\x1b[K\r\n", cpu, bars, bars,
			"||||||||||||||||||||||||||||||||||||||||", bars*100/40, g.intn(10))
	}
	g.printf("\x1b[30;42m    PID USER      PRI  NI  VIRT   RES   SHR S  CPU%%  MEM%%   TIME+  Command\x1b[K\x1b[0m\r\n")
	for i := range s.rows[:screenRows-7] {
		p := &s.rows[i]
		if g.chance(25) {
			p.cpu, p.secs = g.intn(300), p.secs+g.intn(3)
		}
		g.printf("%7s %-9s  20   0 \x1b[36m%5dM\x1b[39m %4dM %4dM S %3d.%d  %2d.%d %3d:%02d.%02d %s\x1b[K\r\n",
			p.pid, p.user, p.mem*31, p.mem*7, p.mem, p.cpu/10, p.cpu%10, p.mem/10, p.mem%10, p.secs/60, p.secs%60, g.intn(100), p.command)
	}
	g.printf("\x1b[30;46mF1\x1b[0mHelp  \x1b[30;46mF10\x1b[0mQuit\x1b[K")
}
