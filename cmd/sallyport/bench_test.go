package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"

	"sallyport/bastion/sshtest"
)

// lane is one way to the same target: through Debian's sshd as a jump host, or
// through the bastion, which records and redacts. The client is the stock one.
type lane struct {
	name string
	ssh  []string // arguments before the options of a benchmark
}

// lanes starts a target, a jump host and a bastion for the whole benchmark.
func lanes(b *testing.B) []lane {
	b.Helper()
	n := newNode(b, nodeOptions{})
	own := sshtest.NewKey(b)
	key := sshtest.WriteKey(b, n.dir, "plain", own)
	signer, err := ssh.NewSignerFromKey(own)
	if err != nil {
		b.Fatal(err)
	}
	keys := []ssh.PublicKey{signer.PublicKey()}
	target := sshtest.StartOpenSSH(b, sshtest.Options{UserCAs: []ssh.PublicKey{n.targetCA()}, AuthorizedKeys: keys})
	jump := sshtest.StartOpenSSH(b, sshtest.Options{AuthorizedKeys: keys, Config: []string{"AllowTcpForwarding yes"}})
	n.target(target.Addr, target.Login, target.HostKey)
	n.start()
	n.write("plain_hosts", target.KnownHosts()+jump.KnownHosts())
	config := "Host *\n  IdentitiesOnly yes\n  IdentityAgent none\n  BatchMode yes\n  UserKnownHostsFile " + n.path("plain_hosts") + "\n  IdentityFile " + key + "\n"
	for name, addr := range map[string]string{"target": target.Addr, "jump": jump.Addr} {
		host, port, _ := strings.Cut(addr, ":")
		config += fmt.Sprintf("Host %s\n  HostName %s\n  Port %s\n  User %s\n", name, host, port, target.Login)
	}
	n.write("plain_config", config)
	return []lane{
		{"ssh-J", []string{"-q", "-F", n.path("plain_config"), "-J", "jump", "target"}},
		{"sallyport", []string{"-q", "-F", n.path("ssh_config"), target.Login + "@t1"}},
	}
}

// BenchmarkEcho measures one keystroke: from the client's terminal to a
// program on the target and back. Use -benchtime 500x or more.
func BenchmarkEcho(b *testing.B) {
	for _, l := range lanes(b) {
		b.Run(l.name, func(b *testing.B) {
			cmd := exec.Command("ssh", slices.Concat([]string{"-tt"}, l.ssh, []string{"stty raw -echo; printf ready; exec cat"})...)
			tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { tty.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			if err := readUntil(tty, "ready"); err != nil {
				b.Fatal(err)
			}
			one := []byte("x")
			samples := make([]time.Duration, 0, b.N)
			b.ResetTimer()
			for range b.N {
				begun := time.Now()
				if _, err := tty.Write(one); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(tty, one); err != nil {
					b.Fatal(err)
				}
				samples = append(samples, time.Since(begun))
				time.Sleep(2 * time.Millisecond) // people do not type in bursts
			}
			b.StopTimer()
			slices.Sort(samples)
			b.ReportMetric(float64(samples[len(samples)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(samples[len(samples)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(0, "ns/op") // the pauses are not the product's
		})
	}
}

func readUntil(r io.Reader, text string) error {
	var seen strings.Builder
	buf := make([]byte, 256)
	for !strings.Contains(seen.String(), text) {
		n, err := r.Read(buf)
		if err != nil {
			return fmt.Errorf("%w after %q", err, seen.String())
		}
		seen.Write(buf[:n])
	}
	return nil
}

// BenchmarkBulk measures text that a target prints: SALLYPORT_BENCH_BYTES of
// it, 128 MiB when that is not set, without and with a terminal.
func BenchmarkBulk(b *testing.B) {
	size := int64(128 << 20)
	if s := os.Getenv("SALLYPORT_BENCH_BYTES"); s != "" {
		var err error
		if size, err = strconv.ParseInt(s, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	ways := lanes(b)
	for _, mode := range []string{"exec", "pty"} {
		for _, l := range ways {
			b.Run(mode+"/"+l.name, func(b *testing.B) {
				b.SetBytes(size)
				for range b.N {
					bulk(b, l, mode == "pty", size)
				}
			})
		}
	}
}

func bulk(b *testing.B, l lane, tty bool, size int64) {
	b.Helper()
	args := slices.Concat(l.ssh, []string{fmt.Sprintf("yes 'Mar 01 02:11:40 db1 backup[8123]: dumping 14 databases' | head -c %d", size)})
	if tty {
		args = append([]string{"-tt"}, args...)
	}
	cmd := exec.Command("ssh", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	got, err := io.Copy(io.Discard, out)
	if waitErr := cmd.Wait(); err != nil || waitErr != nil || got < size {
		b.Fatalf("%d bytes of %d: %v %v", got, size, err, waitErr)
	}
}
