package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

func ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show and check the signed log of everything that happened",
		Long: `Work with the ledger: an append-only, signed log of every decision, session and
recording of this node. These verbs read it on the machine itself, also while
the bastion runs.`,
	}
	cmd.AddCommand(ledgerShowCommand(), ledgerCheckpointCommand(), ledgerKeyCommand(), ledgerRebuildCommand())
	return cmd
}

// dataOf is the data directory that --data or --config names.
func dataOf(file, data string) (dataDir, error) {
	if data != "" {
		return dataDir(data), nil
	}
	cfg, err := LoadConfig(file)
	if err != nil {
		return "", err
	}
	return dataDir(cfg.Data), nil
}

// loadLedger reads and checks the ledger of d.
func loadLedger(d dataDir) (*ledger.Log, error) {
	v, _, err := readLedgerKey(d.keys().ledgerPublic())
	if err != nil {
		return nil, fmt.Errorf("the ledger's public key: %w; is %s the data directory of a bastion?", err, d)
	}
	return ledger.Load(d.ledger(), v)
}

func ledgerKeyCommand() *cobra.Command {
	var file, data string
	cmd := &cobra.Command{
		Use:   "key (--config FILE | --data DIR)",
		Short: "Print the ledger's public key, which verify needs",
		Long: `Print the ledger's public key, one line. Keep it, and a checkpoint, away from
the bastion: with them, verify shows that nothing was changed since.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := dataOf(file, data)
			if err != nil {
				return err
			}
			_, line, err := readLedgerKey(d.keys().ledgerPublic())
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w; it is made when the bastion starts for the first time", err)
			}
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			return err
		},
	}
	addDataFlags(cmd, &file, &data)
	return cmd
}

func ledgerCheckpointCommand() *cobra.Command {
	var file, data string
	cmd := &cobra.Command{
		Use:   "checkpoint (--config FILE | --data DIR)",
		Short: "Check the ledger and print its newest signed checkpoint",
		Long: `Check the ledger and print its newest signed checkpoint: its size and the hash
of all its entries, signed. Whoever keeps it can show later, with
verify --checkpoint, that none of them was changed or taken away.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := dataOf(file, data)
			if err != nil {
				return err
			}
			log, err := loadLedger(d)
			if err == nil {
				_, err = cmd.OutOrStdout().Write(log.Checkpoint())
			}
			return err
		},
	}
	addDataFlags(cmd, &file, &data)
	return cmd
}

// entryFilter says which entries `ledger show` shows.
type entryFilter struct {
	session, kind string
	from, to      time.Time
	limit         int
}

func (f entryFilter) takes(e policy.Entry) bool {
	return strings.HasPrefix(string(e.Session), f.session) && strings.HasPrefix(string(e.Kind), f.kind) &&
		(f.from.IsZero() || !e.Time.Before(f.from)) && (f.to.IsZero() || e.Time.Before(f.to))
}

// shownEntry is an entry with its place in the ledger.
type shownEntry struct {
	Index  int64 `json:"index"`
	Signed bool  `json:"signed"`
	policy.Entry
}

func ledgerShowCommand() *cobra.Command {
	var file, data, since, until string
	var f entryFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show (--config FILE | --data DIR)",
		Short: "Check the ledger and print its entries, the newest last",
		Long: `Check the ledger and print its entries, the newest last. Who did something, and
where, is shown for as long as these details are kept (ledger.body_retention).
With --json each line is one entry.`,
		Example: "  sallyport ledger show --data /var/lib/sallyport --kind signin --since 24h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if f.from, err = console.ParseWhen("since", since, time.Now()); err != nil {
				return err
			}
			if f.to, err = console.ParseWhen("until", until, time.Now()); err != nil {
				return err
			}
			if f.limit < 0 {
				return &usageError{"--limit is not negative"}
			}
			d, err := dataOf(file, data)
			if err != nil {
				return err
			}
			return showLedger(cmd.OutOrStdout(), d, f, asJSON)
		},
	}
	addDataFlags(cmd, &file, &data)
	fl := cmd.Flags()
	fl.StringVar(&f.session, "session", "", "entries of sessions whose `ID` begins so")
	fl.StringVar(&f.kind, "kind", "", "entries whose `KIND` begins so: signin, permit, view, …")
	fl.StringVar(&since, "since", "", "entries from then on: `WHEN` is 90m, 24h or 7d ago,\nor 2006-01-02 or 2006-01-02T15:04 in UTC")
	fl.StringVar(&until, "until", "", "entries before `WHEN`")
	fl.IntVar(&f.limit, "limit", 50, "the last `N` of them; 0 for all")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showLedger(out io.Writer, d dataDir, f entryFilter, asJSON bool) error {
	log, err := loadLedger(d)
	if err != nil {
		return err
	}
	body, err := readSymmetricKey(d.keys().body())
	if err != nil {
		return err
	}
	var found []shownEntry
	n := int64(0)
	for e, err := range log.Entries(body) {
		if err != nil {
			return err
		}
		if f.takes(e) {
			found = append(found, shownEntry{n, n < log.SignedSize(), e})
			if f.limit > 0 && len(found) > f.limit {
				found = slices.Delete(found, 0, 1)
			}
		}
		n++
	}
	if asJSON {
		return printEntriesJSON(out, found)
	}
	return printEntries(out, found)
}

func printEntriesJSON(out io.Writer, list []shownEntry) error {
	var b bytes.Buffer
	for _, e := range list {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Write(append(replay.EscapeJSON(line), '\n'))
	}
	_, err := b.WriteTo(out)
	return err
}

// printEntries prints list for people: a line for what and who, and the rest
// below it, indented, where a line of 80 columns has no room.
func printEntries(out io.Writer, list []shownEntry) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "No such entries.")
		return err
	}
	var b strings.Builder
	for _, e := range list {
		line := fmt.Sprintf("%6d  %s  %s", e.Index, e.Time.UTC().Format("2006-01-02 15:04:05"), e.Kind)
		for _, word := range entryWords(e.Entry) {
			word = console.Printable(word)
			if len([]rune(line))+1+len([]rune(word)) > 80 {
				b.WriteString(line + "\n")
				line = strings.Repeat(" ", 7)
			}
			line += " " + word
		}
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// entryWords are the facts of an entry, each one word for the eye.
func entryWords(e policy.Entry) []string {
	var words []string
	if e.User != nil {
		words = append(words, e.User.String())
	}
	if e.Target != "" {
		words = append(words, string(e.Login)+"@"+e.Target)
	}
	for _, kv := range [][2]string{{"session", string(e.Session)}, {"source", e.Source}} {
		if kv[1] != "" {
			words = append(words, kv[0]+"="+kv[1])
		}
	}
	for _, m := range []map[string]string{e.Ref, e.Detail} {
		for _, k := range sortedKeys(m) {
			words = append(words, k+"="+m[k])
		}
	}
	return words
}
