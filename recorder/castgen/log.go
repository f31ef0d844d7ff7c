package castgen

import (
	"fmt"
	"iter"
	"time"
)

// Log is a program that follows logs: lines of several services, now one by
// one, now in a burst, until there are n bytes of output.
func Log(seed uint64, n int) iter.Seq[Chunk] {
	l := &logs{clock: 1_790_000_000_000_000 + int64(seed%1000)*1_000_000}
	return generate(seed^0x106, n, l.step)
}

// logs is a machine whose services log.
type logs struct {
	clock int64 // microseconds of Unix time
	pids  map[string]int
}

func (l *logs) step(g *generator) {
	g.wait(time.Millisecond, 2*time.Second)
	lines := 1
	if g.chance(30) {
		lines = g.span(2, 60)
	}
	for range lines {
		l.clock += int64(g.intn(400_000))
		switch g.intn(4) {
		case 0:
			l.access(g)
		case 1:
			l.json(g)
		default:
			l.syslog(g)
		}
	}
}

func (l *logs) time() time.Time { return time.UnixMicro(l.clock).UTC() }

func (l *logs) syslog(g *generator) {
	service := g.zipf(services)
	if l.pids == nil {
		l.pids = map[string]int{}
	}
	if l.pids[service] == 0 || g.chance(3) {
		l.pids[service] = g.span(300, 99999)
	}
	g.printf("%s web-%02d %s[%d]: %s\r\n", l.time().Format("Jan 02 15:04:05"), g.span(1, 6), service, l.pids[service], g.event())
}

// event returns the text of one line.
func (g *generator) event() string {
	switch g.intn(8) {
	case 0:
		return fmt.Sprintf("Accepted publickey for %s from 10.%d.%d.%d port %d ssh2: ED25519 SHA256:%s",
			g.pick("deploy", "root", "alice", "bob"), g.intn(4), g.intn(256), g.intn(256), g.span(1024, 65535), g.hex(43))
	case 1:
		return fmt.Sprintf("level=%s msg=%q component=%s request_id=%s duration=%d.%03dms",
			g.pick("info", "info", "info", "warn", "error"), g.phrase(3, 8), g.zipf(services), g.uuid(), g.intn(900), g.intn(1000))
	case 2:
		return fmt.Sprintf("Started session-%d.scope - Session %d of User %s.", g.intn(9999), g.intn(9999), g.pick("root", "deploy"))
	case 3:
		return fmt.Sprintf("checkpoint complete: wrote %d buffers (%d.%d%%); %d WAL file(s) added, %d removed, %d recycled; write=%d.%03d s, sync=0.%03d s",
			g.intn(9000), g.intn(10), g.intn(10), g.intn(2), g.intn(2), g.intn(6), g.intn(270), g.intn(1000), g.intn(1000))
	case 4:
		return fmt.Sprintf("connection from 10.%d.%d.%d:%d closed after %d bytes: %s", g.intn(4), g.intn(256), g.intn(256), g.span(1024, 65535), g.intn(1<<22), g.phrase(2, 5))
	}
	return g.phrase(5, 16)
}

func (l *logs) access(g *generator) {
	g.printf("10.%d.%d.%d - - [%s] \"%s /%s/%s?id=%d HTTP/1.1\" %s %d \"-\" \"%s\" rt=%d.%03d\r\n",
		g.intn(4), g.intn(256), g.intn(256), l.time().Format("02/Jan/2006:15:04:05 +0000"),
		g.pick("GET", "GET", "GET", "POST", "PUT"), g.zipf(folders), g.word(), g.intn(1_000_000),
		g.pick("200", "200", "200", "200", "304", "404", "500", "301"), g.intn(60000),
		g.pick("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "curl/8.14.1", "kube-probe/1.33", "Go-http-client/1.1"),
		g.intn(3), g.intn(1000))
}

func (l *logs) json(g *generator) {
	g.printf(`{"ts":"%s","level":"%s","service":"%s","trace":"%s","user":%d,"msg":"%s","ms":%d.%d}`+"\r\n",
		l.time().Format("2006-01-02T15:04:05.000000Z"), g.pick("info", "info", "debug", "warn", "error"),
		g.zipf(services), g.hex(32), g.intn(100_000), g.phrase(3, 9), g.intn(2000), g.intn(10))
}
