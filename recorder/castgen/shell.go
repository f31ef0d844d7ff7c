package castgen

import (
	"iter"
	"strings"
	"time"
)

// Shell is somebody working in a shell: commands typed key by key, echoed, and
// what they print, until there are n bytes of output.
func Shell(seed uint64, n int) iter.Seq[Chunk] {
	s := &shell{dir: "~/service"}
	return generate(seed^0x5e11, n, s.step)
}

type shell struct{ dir string }

func (s *shell) step(g *generator) {
	g.printf("\x1b]0;deploy@web-03: %s\x07\x1b[01;32mdeploy@web-03\x1b[00m:\x1b[01;34m%s\x1b[00m$ ", s.dir, s.dir)
	g.flush()
	g.wait(300*time.Millisecond, 8*time.Second)
	run := []func(*generator) string{s.list, s.list, s.ps, s.gitLog, s.cat, s.cat, s.find, s.grep, s.grep, s.install, s.cd, s.tests}[g.intn(12)]
	body := &generator{rng: g.rng}
	command := run(body)
	g.rng = body.rng
	for _, c := range command {
		if g.chance(3) {
			g.key("x", "x")
			g.key("\x7f", "\b\x1b[K")
		}
		g.key(string(c), string(c))
	}
	g.key("\r", "\r\n")
	g.wait(time.Millisecond, 800*time.Millisecond)
	g.buf = append(g.buf, body.buf...)
}

func (s *shell) cd(g *generator) string {
	s.dir = "~/service/" + g.zipf(folders)
	return "cd " + s.dir
}

func (s *shell) list(g *generator) string {
	g.printf("total %d\r\n", g.intn(2000))
	for range g.span(5, 60) {
		size, month := g.intn(1<<g.span(8, 22)), months[g.intn(12)]
		if g.chance(25) {
			g.printf("drwxr-xr-x %2d deploy deploy %8d %s %2d %02d:%02d \x1b[01;34m%s-%s\x1b[0m\r\n", g.span(2, 20), 4096, month, g.span(1, 28), g.intn(24), g.intn(60), g.zipf(folders), g.word())
		} else {
			g.printf("-rw-r--r--  1 deploy deploy %8d %s %2d %02d:%02d %s\r\n", size, month, g.span(1, 28), g.intn(24), g.intn(60), g.file())
		}
	}
	return "ls -la"
}

func (s *shell) ps(g *generator) string {
	g.printf("USER         PID %%CPU %%MEM    VSZ   RSS TTY      STAT START   TIME COMMAND\r\n")
	pid := 1
	for range g.span(40, 160) {
		pid += g.intn(400) + 1
		g.printf("%-9s %6d %4d.%d %4d.%d %6d %5d ?        %-4s %02d:%02d   %d:%02d %s\r\n",
			g.pick("root", "root", "root", "deploy", "www-data", "postgres"), pid, g.intn(8), g.intn(10), g.intn(6), g.intn(10),
			g.intn(3_000_000), g.intn(90_000), g.pick("Ss", "S", "Sl", "I<", "R+", "Ssl"), g.intn(24), g.intn(60), g.intn(90), g.intn(60),
			g.pick("["+g.word()+"/"+g.hex(1)+"]", "/usr/sbin/"+g.zipf(services), "/usr/bin/"+g.word()+" --config /etc/"+g.file()))
	}
	return "ps aux"
}

func (s *shell) gitLog(g *generator) string {
	for range g.span(5, 40) {
		g.printf("\x1b[33mcommit %s\x1b[m\r\nAuthor: %s <%s@example.com>\r\nDate:   Mon %s %d %02d:%02d:%02d 2026 +0000\r\n\r\n    %s: %s\r\n\r\n",
			g.hex(40), g.pick("Alice Ng", "Bob Iro", "Chloé Díaz"), g.pick("alice", "bob", "chloe"),
			months[g.intn(12)], g.span(1, 28), g.intn(24), g.intn(60), g.intn(60), g.zipf(folders), g.phrase(4, 10))
	}
	return "git log"
}

func (s *shell) cat(g *generator) string {
	indent := 0
	for range g.span(20, 150) {
		pad := strings.Repeat("    ", indent)
		switch g.intn(6) {
		case 0:
			g.printf("%sif %s := %s(%s, %d); err != nil {\r\n", pad, g.word(), g.word(), g.word(), g.intn(100))
			indent = min(indent+1, 4)
		case 1:
			indent = max(indent-1, 0)
			g.printf("%s}\r\n", strings.Repeat("    ", indent))
		case 2:
			g.printf("%s// %s\r\n", pad, g.phrase(4, 10))
		case 3:
			g.printf("%s%s: %q\r\n", pad, g.word(), g.phrase(1, 4))
		default:
			g.printf("%s%s.%s = %s(%s, %q)\r\n", pad, g.word(), g.word(), g.word(), g.word(), g.phrase(1, 3))
		}
	}
	return "cat " + g.path()
}

func (s *shell) find(g *generator) string {
	for range g.span(20, 300) {
		g.printf("./%s\r\n", g.path())
	}
	return "find . -type f -mtime -2"
}

func (s *shell) grep(g *generator) string {
	what := g.word()
	for range g.span(3, 80) {
		g.printf("\x1b[35m%s\x1b[m\x1b[36m:\x1b[m\x1b[32m%d\x1b[m\x1b[36m:\x1b[m  %s \x1b[01;31m%s\x1b[m %s\r\n",
			g.path(), g.intn(900), g.phrase(1, 5), what, g.phrase(1, 5))
	}
	return "grep -rn " + what + " ."
}

func (s *shell) install(g *generator) string {
	name := g.word()
	for i := 0; i <= 100; i += g.span(1, 9) {
		g.printf("\rProgress: [%3d%%] [%-58s] ", i, strings.Repeat("#", i*58/100))
	}
	g.printf("\r\nGet:1 http://deb.example.org/debian trixie/main amd64 lib%s amd64 %d.%d.%d-%d [%d kB]\r\n", name, g.intn(9), g.intn(20), g.intn(20), g.intn(4), g.intn(9000))
	for range g.span(3, 20) {
		g.printf("Unpacking lib%s-%s:amd64 (%d.%d.%d-%d) ...\r\n", name, g.word(), g.intn(9), g.intn(20), g.intn(20), g.intn(4))
	}
	return "sudo apt-get install " + name
}

func (s *shell) tests(g *generator) string {
	for range g.span(5, 40) {
		g.printf("\x1b[32mok\x1b[0m  \texample.com/service/%s/%s\t%d.%03ds\r\n", g.zipf(folders), g.word(), g.intn(9), g.intn(1000))
	}
	if g.chance(40) {
		g.printf("\x1b[31m--- FAIL\x1b[0m: Test%s (0.%02ds)\r\n    %s:%d: got %s, want %s ✗\r\n", g.word(), g.intn(100), g.file(), g.intn(400), g.hex(16), g.hex(16))
	}
	return "go test ./..."
}
