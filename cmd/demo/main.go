// Command demo shows the whole of Sallyport on one machine: a development
// issuer, a host to log in to, and the built sallyport between them, all on
// loopback. It makes one recorded session and says what to paste next.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = `Usage: demo [flags]

Runs Sallyport with a development issuer and one host to log in to, on loopback.
Ctrl-C stops everything and leaves the data.

Flags:
`

// options are the command's flags.
type options struct {
	dir       string
	sallyport string
	ports     ports
	once      bool
}

// ports are those to listen on; 0 is the one of the last run in this folder, or
// a free one.
type ports struct{ ssh, web, idp, host int }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0 fine, 1 a step failed, 2 misuse.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	o, err := parseFlags(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	if err := demonstrate(ctx, o, out); err != nil {
		fmt.Fprintln(errOut, "demo:", err)
		return 1
	}
	return 0
}

func parseFlags(args []string, errOut io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.Usage = func() {
		fmt.Fprint(errOut, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.dir, "dir", "", "`DIR` for configuration, keys and data (default a temporary one, which is named)")
	f.StringVar(&o.sallyport, "sallyport", "", "`PATH` of the sallyport binary (default beside this one, in ./bin, or in PATH)")
	f.IntVar(&o.ports.ssh, "ssh-port", 0, "`PORT` of the bastion (0: a free one)")
	f.IntVar(&o.ports.web, "web-port", 0, "`PORT` of the web pages (0: a free one)")
	f.IntVar(&o.ports.idp, "idp-port", 0, "`PORT` of the development issuer (0: a free one)")
	f.IntVar(&o.ports.host, "host-port", 0, "`PORT` of the demo host (0: a free one)")
	f.BoolVar(&o.once, "once", false, "run one whole round with the stock ssh client, then end: exit code 0, or 1 with the step that failed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		fmt.Fprintf(errOut, "demo: unexpected argument %q\n", f.Arg(0))
		return o, errors.New("usage")
	}
	return o, nil
}

// demonstrate starts everything, and ends when ctx does, when the bastion dies,
// or after one round.
func demonstrate(ctx context.Context, o options, out io.Writer) (err error) {
	d := &demo{options: o, out: out}
	defer func() { err = errors.Join(err, d.stop()) }()
	for _, s := range d.steps() {
		if err := s.do(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // stopped while starting
			}
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if o.once {
		return d.round(ctx)
	}
	d.explain()
	select {
	case <-ctx.Done():
		return nil
	case <-d.bastion.done:
		return fmt.Errorf("the bastion ended: %v\n%s", d.bastion.err, lastLines(d.path("sallyport.log"), 5))
	}
}

// step is one thing that can fail, and its name.
type step struct {
	name string
	do   func(context.Context) error
}

// findBinary returns the absolute path of the sallyport to run.
func findBinary(given string) (string, error) {
	if given == "" {
		given = "sallyport"
		var beside []string
		if self, err := os.Executable(); err == nil {
			beside = append(beside, filepath.Join(filepath.Dir(self), given))
		}
		for _, p := range append(beside, filepath.Join("bin", given)) {
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				given = p
				break
			}
		}
	}
	p, err := exec.LookPath(given)
	if err != nil {
		return "", fmt.Errorf("no sallyport binary (build it, or name it with --sallyport): %w", err)
	}
	return filepath.Abs(p)
}
