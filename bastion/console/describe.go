package console

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/policy"
)

// facts prints one fact a line, and none for an empty value. Whatever a value
// holds, a terminal may show it.
type facts struct{ w *tabwriter.Writer }

func (f facts) add(name, value string) {
	if value != "" {
		fmt.Fprintf(f.w, "%s\t%s\n", name, Printable(value))
	}
}

// describe prints a recording for people: what it is, what the target said it
// was, and what was on its connections.
func describe(out io.Writer, r policy.Recording) error {
	f := facts{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	f.session(r)
	f.context(r)
	f.host(r.Summary.End.Host)
	for _, c := range r.Session.Coverage {
		f.add("Not covered", c)
	}
	if err := f.w.Flush(); err != nil {
		return err
	}
	return writeCoverage(out, r.Summary.End.Channels)
}

// session says who did what, and how it ended.
func (f facts) session(r policy.Recording) {
	s, sum := r.Session, r.Summary
	f.add("ID", string(s.ID))
	f.add("User", s.User.String())
	f.add("Subject", s.User.Subject+" at "+s.User.Issuer)
	f.add("Groups", strings.Join(s.User.Groups, ", "))
	f.add("Target", string(s.Login)+"@"+s.Target)
	f.add("What", string(s.Action))
	f.add("Command", s.Command)
	f.add("Started", s.Start.UTC().Format("2006-01-02 15:04:05 UTC"))
	if sum.State != policy.RecordingOpen {
		f.add("Length", sum.Duration.Round(time.Millisecond).String())
	}
	f.add("End", endText(sum))
	f.add("Reason", sum.End.Reason)
	f.add("From", s.Source)
	f.add("Client", s.Client)
	f.add("Key", string(s.Key))
	if s.Serial != 0 {
		f.add("Certificate", fmt.Sprintf("serial %d", s.Serial))
	}
	if s.TTY {
		f.add("Terminal", fmt.Sprintf("%s, %d columns, %d rows", s.Term, s.Cols, s.Rows))
	}
	if sum.State != policy.RecordingOpen {
		f.add("Bytes", fmt.Sprintf("%d shown, %d on standard error, %d typed", sum.OutputBytes, sum.StderrBytes, sum.InputBytes))
		f.add("Masks", fmt.Sprint(sum.Masks))
		f.add("SHA-256", sum.SHA256)
	}
}

// context says by which rules the session was, and what it reached.
func (f facts) context(r policy.Recording) {
	s, end := r.Session, r.Summary.End
	f.add("Address", cmp.Or(end.Address, s.Address))
	f.add("Host key", string(end.HostKey))
	f.add("Labels", pairs(s.Labels))
	f.add("Environment", pairs(s.Env))
	var refused []string
	for _, name := range s.AskedEnv {
		if _, passed := s.Env[name]; !passed {
			refused = append(refused, name)
		}
	}
	f.add("Not passed on", strings.Join(refused, " "))
	f.add("Allowed by", strings.Join(s.Policies, ", "))
	f.add("Policy", s.PolicyDigest)
	f.add("Configuration", s.ConfigDigest)
	f.add("Kept", retention(s.Retention))
}

// host says what the target answered when the bastion asked what it is.
func (f facts) host(h *policy.HostContext) {
	if h == nil {
		return
	}
	f.add("Host says", h.Hostname)
	f.add("Kernel", h.Kernel)
	f.add("System", h.OS)
	shell := h.Shell
	if h.ShellVer != "" {
		shell = strings.TrimSpace(shell + " (" + h.ShellVer + ")")
	}
	f.add("Shell", shell)
	f.add("Directory", h.Dir)
	f.add("Container", h.Container)
	f.add("Image", h.ImageDigest)
	f.add("Host unknown", h.Error)
}

// pairs lists m as NAME=VALUE in the order of the names.
func pairs(m map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	return strings.Join(list, " ")
}

// retention says how long a recording is kept after its end.
func retention(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return ""
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// writeCoverage lists what was on the connections of a session, one kind of
// channel or request a line: how many, who began it, and what is recorded.
func writeCoverage(out io.Writer, list []policy.Channel) error {
	if len(list) == 0 {
		return nil
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nCOUNT\tFROM\tKIND\tTYPE\tRECORDED\tNOTE")
	for _, c := range list {
		recorded := "no"
		if c.Captured {
			recorded = "yes"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", c.Count, Printable(c.From), Printable(c.Kind), Printable(c.Type), recorded, Printable(c.Note))
	}
	w.Flush()
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
