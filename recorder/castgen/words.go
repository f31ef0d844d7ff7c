package castgen

import "strings"

// hex returns n hexadecimal digits.
func (r *rng) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[r.intn(16)]
	}
	return string(b)
}

// uuid returns a random UUID (RFC 9562, section 5.4).
func (r *rng) uuid() string {
	return r.hex(8) + "-" + r.hex(4) + "-4" + r.hex(3) + "-a" + r.hex(3) + "-" + r.hex(12)
}

var words = strings.Fields(`
the to a of and in is for with from not on request user file error connection data server
timeout config service client failed started response status cache session update value
node worker queue message database index table transaction retry handler module package
version path token certificate key process memory buffer thread signal socket port address
interface route proxy balance health check probe deploy release image container volume
network policy role account group permission scope audit event metric trace span sample
window batch stream record offset partition replica leader follower quorum snapshot log
segment compaction merge split shard lock lease renew expire heartbeat election term commit
apply rollback migrate schema column row field type string number boolean array object
parse encode decode compress encrypt sign verify hash digest salt nonce random seed`)

var folders = []string{"src", "lib", "internal", "cmd", "pkg", "test", "docs", "api", "server", "client",
	"config", "deploy", "scripts", "vendor", "models", "handlers", "storage", "auth", "web", "tools"}

var services = []string{"systemd", "sshd", "kernel", "nginx", "postgres", "dockerd", "kubelet", "cron",
	"api-server", "worker", "scheduler", "etcd", "haproxy", "redis-server", "billing", "search-indexer"}

var names = []string{"main", "server", "client", "handler", "store", "config", "util", "types", "errors",
	"parser", "index", "router", "session", "cache", "queue", "schema", "metrics", "README", "Makefile", "notes"}

var suffixes = []string{".go", ".go", ".py", ".js", ".yaml", ".json", ".md", ".txt", ".sh", ".log", "_test.go", ".sql"}

// word returns a word, more often a common one.
func (r *rng) word() string { return r.zipf(words) }

// phrase returns from a to b words.
func (r *rng) phrase(a, b int) string {
	s := r.word()
	for range r.span(a, b) - 1 {
		s += " " + r.word()
	}
	return s
}

// file returns a file name.
func (r *rng) file() string {
	s := r.zipf(names)
	if r.chance(40) {
		s = r.word() + "_" + s
	}
	return s + r.pick(suffixes...)
}

// path returns a file with folders before it.
func (r *rng) path() string {
	s := ""
	for range r.span(1, 4) {
		s += r.zipf(folders) + "/"
	}
	return s + r.file()
}

var months = []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
