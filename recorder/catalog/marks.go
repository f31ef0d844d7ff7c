package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"sallyport/policy"
)

// Hold keeps a recording from being destroyed.
type Hold struct {
	Reason, By string
	Since      time.Time
}

// Tombstone says that a recording is to be destroyed or, when Done, was.
type Tombstone struct {
	Reason, By string
	At         time.Time
	Done       bool
}

// Marks are the hold and the tombstone of one recording, within a transaction.
type Marks struct {
	ctx context.Context
	tx  *sql.Tx
	id  policy.SessionID
}

// Mark runs f in a transaction that nothing else in the state overlaps, in no
// process. What f did is durable once Mark returns nil, and undone otherwise. f
// may run more than once. The error is f's own, or the database's.
func (c *Catalog) Mark(ctx context.Context, id policy.SessionID, f func(*Marks) error) error {
	if _, err := policy.ParseSessionID(string(id)); err != nil {
		return err
	}
	return c.write(ctx, func(tx *sql.Tx) error { return f(&Marks{ctx, tx, id}) })
}

// Hold returns the recording's hold, if there is one.
func (m *Marks) Hold() (h Hold, ok bool, err error) {
	var since int64
	err = m.tx.QueryRowContext(m.ctx, `SELECT reason, by_whom, since FROM state_holds WHERE recording = $1`, string(m.id)).Scan(&h.Reason, &h.By, &since)
	h.Since = fromMicros(since)
	return h, err == nil, absent(err)
}

// PutHold holds the recording.
func (m *Marks) PutHold(h Hold) error {
	_, err := m.tx.ExecContext(m.ctx, `INSERT INTO state_holds (recording, reason, by_whom, since) VALUES ($1, $2, $3, $4)`,
		string(m.id), text(h.Reason), text(h.By), micros(h.Since))
	return err
}

// DropHold lifts the hold.
func (m *Marks) DropHold() error {
	_, err := m.tx.ExecContext(m.ctx, `DELETE FROM state_holds WHERE recording = $1`, string(m.id))
	return err
}

// Tombstone returns the recording's tombstone, if there is one.
func (m *Marks) Tombstone() (t Tombstone, ok bool, err error) {
	var at, done int64
	err = m.tx.QueryRowContext(m.ctx, `SELECT reason, by_whom, at, done FROM state_tombstones WHERE recording = $1`, string(m.id)).Scan(&t.Reason, &t.By, &at, &done)
	t.At, t.Done = fromMicros(at), done != 0
	return t, err == nil, absent(err)
}

// PutTombstone sets the recording's tombstone.
func (m *Marks) PutTombstone(t Tombstone) error {
	done := 0
	if t.Done {
		done = 1
	}
	_, err := m.tx.ExecContext(m.ctx, `INSERT INTO state_tombstones (recording, reason, by_whom, at, done) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (recording) DO UPDATE SET reason = excluded.reason, by_whom = excluded.by_whom, at = excluded.at, done = excluded.done`,
		string(m.id), text(t.Reason), text(t.By), micros(t.At), done)
	return err
}

// DropTombstone removes a tombstone that is not done.
func (m *Marks) DropTombstone() error {
	_, err := m.tx.ExecContext(m.ctx, `DELETE FROM state_tombstones WHERE recording = $1 AND done = 0`, string(m.id))
	return err
}

func absent(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// Doomed returns the recordings whose tombstone is not done.
func (c *Catalog) Doomed(ctx context.Context) ([]policy.SessionID, error) {
	return c.ids(ctx, `SELECT recording FROM state_tombstones WHERE done = 0 ORDER BY recording`)
}

// Over returns the sealed recordings that have been kept for long enough: for
// their own retention or, where they have none, for otherwise (never, where
// that is zero).
func (c *Catalog) Over(ctx context.Context, now time.Time, otherwise time.Duration) ([]policy.SessionID, error) {
	return c.ids(ctx, `SELECT id FROM index_recordings WHERE ended > 0 AND state IN ('complete', 'interrupted') AND (
			retention > 0 AND ended + retention <= $1 OR retention = 0 AND $2 > 0 AND ended + $2 <= $1)
		ORDER BY ended, id`, micros(now), otherwise.Microseconds())
}

func (c *Catalog) ids(ctx context.Context, query string, args ...any) ([]policy.SessionID, error) {
	var ids []policy.SessionID
	err := retry(ctx, func() error {
		ids = nil
		rows, err := c.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, policy.SessionID(id))
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return ids, nil
}

// Remember keeps a text of the node's own under a name, in the state.
func (c *Catalog) Remember(ctx context.Context, name, value string) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO state_remembered (name, text) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET text = excluded.text`, name, text(value))
		return err
	})
	if err != nil {
		return fmt.Errorf("catalog: %s: %w", name, err)
	}
	return nil
}

// Remembered returns what Remember kept, or ErrNotFound.
func (c *Catalog) Remembered(ctx context.Context, name string) (string, error) {
	var value string
	err := retry(ctx, func() error {
		return c.db.QueryRowContext(ctx, `SELECT text FROM state_remembered WHERE name = $1`, name).Scan(&value)
	})
	if err != nil {
		return "", fmt.Errorf("catalog: %s: %w", name, found(err))
	}
	return value, nil
}
