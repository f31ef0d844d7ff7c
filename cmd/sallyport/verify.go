package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"sallyport/bastion/console"
	"sallyport/policy"
	"sallyport/recorder/ledger"
	"sallyport/replay"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	dir, archive, ledgerKey, checkpoint string
	from, to                            string
	identities, rawIdentities           []string
	asJSON                              bool
}

const aboutVerify = `Verify recordings: that everything the ledger knows of is in the archive as it
was sealed, and that there is nothing else. It takes no server, and changes
nothing.

With --dir it reads a bastion's own data; with --archive and --ledger-key a copy
of the archive, on any machine, with the ledger's public key that was kept from
"sallyport ledger key". A zip is a bundle that "export --bundle" made.

Without identities it proves that recordings are whole and unchanged. With those
that open them it also opens every block, and makes the masked view anew from
what was recorded: a view that shows anything else is "altered". --dir uses the
bastion's own.

That the whole ledger was not replaced by an older one shows only against a
--checkpoint that was kept elsewhere.

Each recording is one of
  valid        whole and unchanged
  running      its session goes on
  interrupted  its end was not seen; what came before is unchanged
  expired      its keys were destroyed, as an entry of the ledger says
  altered, missing, unsigned, wrong key, rolled back

Exit code 1 means that at least one of the last five is there, 2 that the
question was wrong.`

func verifyCommand() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify (--dir DATA | --archive DIR --ledger-key FILE) [ID…]",
		Short: "Prove that recordings are whole and unchanged",
		Long:  aboutVerify,
		Example: `  sallyport verify --dir /var/lib/sallyport --checkpoint kept.txt
  sallyport verify --archive /mnt/copy --ledger-key ledger.pub --from 7d
  sallyport verify bundle.zip --ledger-key ledger.pub`,
		RunE: func(cmd *cobra.Command, args []string) error { return runVerify(cmd, o, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "data `DIR` of a bastion")
	f.StringVar(&o.archive, "archive", "", "`DIR` of the archive, or of a copy of it")
	f.StringVar(&o.ledgerKey, "ledger-key", "", "`FILE` with the ledger's public key")
	f.StringVar(&o.checkpoint, "checkpoint", "", "`FILE` with a checkpoint that was kept elsewhere")
	f.StringSliceVar(&o.identities, "identity", nil, "age identity `FILE` that opens the masked view")
	f.StringSliceVar(&o.rawIdentities, "raw-identity", nil, "age identity `FILE` that opens everything")
	f.StringVar(&o.from, "from", "", "recordings that began then or later: `WHEN` is 24h or\n7d ago, or 2006-01-02 or 2006-01-02T15:04 in UTC")
	f.StringVar(&o.to, "to", "", "recordings that began before `WHEN`")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

func runVerify(cmd *cobra.Command, o verifyOptions, args []string) error {
	if len(args) == 1 && isFile(args[0]) {
		return verifyBundle(cmd, o, args[0])
	}
	v, err := o.prepare(args)
	if err != nil {
		return err
	}
	report := newVerifyReport(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.asJSON)
	report.checkpoint = v.Checkpoint != nil
	report.ledger(v)
	again, err := report.run(cmd.Context(), v, o.dir != "" && report.trouble == nil)
	for try := 0; err == nil && len(again) > 0; try++ {
		// A bastion that runs may just have made entries, which it signs soon,
		// or deleted a recording: what is bad is looked at again.
		select {
		case <-time.After(signingTime):
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
		if v.Log, v.LogErr = o.loadLog(); v.LogErr != nil {
			return v.LogErr
		}
		v.IDs = again
		again, err = report.run(cmd.Context(), v, try < 2)
	}
	if err != nil {
		report.clear()
		return err
	}
	return report.finish(v.Log)
}

// signingTime is in what time a running bastion has signed what it entered.
const signingTime = 1500 * time.Millisecond

// prepare opens what is to be verified.
func (o verifyOptions) prepare(args []string) (replay.VerifyOptions, error) {
	var v replay.VerifyOptions
	var err error
	for _, a := range args {
		id, err := policy.ParseSessionID(a)
		if err != nil {
			return v, &usageError{fmt.Sprintf("%q is neither a recording's whole ID nor a file", a)}
		}
		v.IDs = append(v.IDs, id)
	}
	if v.From, err = console.ParseWhen("from", o.from, time.Now()); err != nil {
		return v, err
	}
	if v.To, err = console.ParseWhen("to", o.to, time.Now()); err != nil {
		return v, err
	}
	if err := o.openRecord(&v); err != nil {
		return v, err
	}
	keys, err := o.identitiesOf()
	if err != nil {
		return v, err
	}
	v.View, v.Raw = keys.View, keys.Raw
	if o.checkpoint != "" {
		if v.Checkpoint, err = readSecretFile(o.checkpoint); err != nil {
			return v, err
		}
	}
	return v, nil
}

// openRecord opens the archive and the ledger. What is wrong with the ledger is
// a verdict, and not an error.
func (o verifyOptions) openRecord(v *replay.VerifyOptions) error {
	if o.dir == "" && (o.archive == "" || o.ledgerKey == "") {
		return &usageError{"verify what? give --dir DATA, or --archive DIR with --ledger-key FILE, or a bundle with --ledger-key FILE"}
	}
	s := source{dir: o.dir, archive: o.archive}
	store, err := s.store()
	if err != nil {
		return err
	}
	v.Archive = store
	v.Log, v.LogErr = o.loadLog()
	if errors.Is(v.LogErr, errNoLedger) {
		return v.LogErr
	}
	return nil
}

// errNoLedger says that there is no ledger, or no key, to verify with.
var errNoLedger = errors.New("nothing can be verified")

// loadLog loads the ledger and checks it against its newest checkpoint.
func (o verifyOptions) loadLog() (*ledger.Log, error) {
	keyFile := o.ledgerKey
	if keyFile == "" {
		keyFile = dataDir(o.dir).keys().ledgerPublic()
	}
	key, _, err := readLedgerKey(keyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: the ledger's public key: %w", errNoLedger, err)
	}
	dir := dataDir(o.dir).ledger()
	if o.dir == "" {
		dir = filepath.Join(o.archive, filepath.FromSlash(ledgerPrefix(key.Name())))
	}
	if !isDir(dir) {
		return nil, fmt.Errorf("%w: %s is no folder; that is where the ledger of node %s should be", errNoLedger, dir, key.Name())
	}
	return ledger.Load(dir, key)
}

// identitiesOf reads the identities that are given, or with --dir those of the
// data directory.
func (o verifyOptions) identitiesOf() (k replay.Keys, err error) {
	if o.dir != "" {
		if k, err = ownIdentities(dataDir(o.dir)); err != nil {
			return k, err
		}
	}
	for _, list := range []struct {
		files []string
		to    *[]age.Identity
	}{{o.identities, &k.View}, {o.rawIdentities, &k.Raw}} {
		for _, file := range list.files {
			ids, err := askingIdentities(file)
			if err != nil {
				return k, err
			}
			*list.to = append(*list.to, ids...)
		}
	}
	return k, nil
}

// verifyBundle verifies one file, alone.
func verifyBundle(cmd *cobra.Command, o verifyOptions, file string) error {
	if o.ledgerKey == "" {
		return &usageError{"a bundle is verified with --ledger-key FILE: the key inside it proves nothing"}
	}
	key, _, err := readLedgerKey(o.ledgerKey)
	if err != nil {
		return fmt.Errorf("the ledger's public key: %w", err)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	found, err := replay.VerifyBundle(cmd.Context(), f, st.Size(), key)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return printBundle(cmd, o, found, key)
}

func printBundle(cmd *cobra.Command, o verifyOptions, found replay.BundleReport, key note.Verifier) error {
	out := cmd.OutOrStdout()
	if o.asJSON {
		return writeJSON(out, struct {
			replay.BundleReport
			Result string `json:"result"`
			Ledger string `json:"ledger"`
		}{found, "valid", key.Name()})
	}
	result := "valid"
	if found.State == policy.RecordingInterrupted {
		result = "interrupted"
	}
	_, err := fmt.Fprintf(out, "%s  %s  %d segments, %s view, %d entries of a ledger of %d\nsigned by node %s; the checkpoint itself was compared with nothing outside\n",
		found.ID, result, found.Segments, found.View, found.Entries, found.LedgerSize, key.Name())
	return err
}
