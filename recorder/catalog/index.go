package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sallyport/policy"
)

// Begin indexes a session whose recording has just opened. A session that is
// in the index already is an error.
func (c *Catalog) Begin(ctx context.Context, s policy.Session) error {
	return c.put(ctx, "index recording", policy.Recording{
		Session: s,
		Summary: policy.Summary{ID: s.ID, State: policy.RecordingOpen},
	}, `ON CONFLICT (id) DO NOTHING`)
}

// replaceRow ends an INSERT that replaces what was there.
const replaceRow = `
	ON CONFLICT (id) DO UPDATE SET
		started = excluded.started, state = excluded.state,
		user_text = excluded.user_text, target_text = excluded.target_text,
		any_text = excluded.any_text, session = excluded.session, summary = excluded.summary,
		ended = excluded.ended, retention = excluded.retention`

// PutRecording indexes r in place of what was known of it.
func (c *Catalog) PutRecording(ctx context.Context, r policy.Recording) error {
	if r.Summary.ID == "" {
		r.Summary.ID = r.Session.ID
	}
	return c.put(ctx, "index recording", r, replaceRow)
}

func (c *Catalog) put(ctx context.Context, what string, r policy.Recording, conflict string) error {
	err := c.write(ctx, func(tx *sql.Tx) error { return putRow(ctx, tx, r, conflict) })
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, r.Session.ID, err)
	}
	return nil
}

func putRow(ctx context.Context, tx *sql.Tx, r policy.Recording, conflict string) error {
	if r.Session.ID == "" {
		return errors.New("no session id")
	}
	if r.Summary.ID != r.Session.ID {
		return fmt.Errorf("the summary is of session %q", r.Summary.ID)
	}
	session, err := json.Marshal(r.Session)
	if err != nil {
		return err
	}
	summary, err := json.Marshal(r.Summary)
	if err != nil {
		return err
	}
	user, all := searchText(r.Session)
	res, err := tx.ExecContext(ctx, `
		INSERT INTO index_recordings (id, started, state, user_text, target_text, any_text, session, summary, ended, retention)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) `+conflict,
		text(string(r.Session.ID)), micros(r.Session.Start), text(string(r.Summary.State)),
		user, lower(r.Session.Target), all, string(session), string(summary), micros(r.Summary.Ended), r.Session.Retention.Microseconds())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errors.New("it is in the catalog already"))
	}
	return nil
}

// Finish stores how the recording s.ID ended, or returns ErrNotFound when it
// was never begun.
func (c *Catalog) Finish(ctx context.Context, s policy.Summary) error {
	summary, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("finish recording %s: %w", s.ID, err)
	}
	err = c.write(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE index_recordings SET state = $1, summary = $2, ended = $3 WHERE id = $4`,
			text(string(s.State)), string(summary), micros(s.Ended), text(string(s.ID)))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("finish recording %s: %w", s.ID, err)
	}
	return nil
}

// Recording returns the recording id, or ErrNotFound.
func (c *Catalog) Recording(ctx context.Context, id policy.SessionID) (policy.Recording, error) {
	var session, summary string
	err := retry(ctx, func() error {
		return c.db.QueryRowContext(ctx,
			`SELECT session, summary FROM index_recordings WHERE id = $1`, text(string(id))).
			Scan(&session, &summary)
	})
	if err != nil {
		return policy.Recording{}, fmt.Errorf("recording %s: %w", id, found(err))
	}
	return decode(session, summary)
}

func decode(session, summary string) (policy.Recording, error) {
	var r policy.Recording
	if err := json.Unmarshal([]byte(session), &r.Session); err != nil {
		return policy.Recording{}, fmt.Errorf("catalog row: session: %w", err)
	}
	if err := json.Unmarshal([]byte(summary), &r.Summary); err != nil {
		return policy.Recording{}, fmt.Errorf("catalog row: summary: %w", err)
	}
	return r, nil
}

// searchLimit bounds how much of a command line a search looks at, in bytes.
const searchLimit = 16 << 10

// searchText returns what filters compare: the words about the user, and those
// about anything.
func searchText(s policy.Session) (user, all string) {
	u := s.User
	user = lower(strings.Join([]string{u.Name, u.Email, u.Subject, string(u.Principal())}, "\n"))
	command := s.Command
	if len(command) > searchLimit {
		command = command[:searchLimit]
	}
	return user, user + "\n" + lower(strings.Join([]string{s.Target, string(s.Login), command, string(s.ID)}, "\n"))
}

func lower(s string) string { return strings.ToLower(text(s)) }
