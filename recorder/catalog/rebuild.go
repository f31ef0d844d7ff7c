package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"

	"sallyport/policy"
)

// Rebuild replaces the whole index by recordings, in one transaction, and
// returns how many there are. The state stays as it is. After an error, the
// index is what it was.
func (c *Catalog) Rebuild(ctx context.Context, recordings iter.Seq2[policy.Recording, error]) (int, error) {
	n := 0
	err := c.write(ctx, func(tx *sql.Tx) error {
		n = 0
		if _, err := tx.ExecContext(ctx, `DELETE FROM index_recordings`); err != nil {
			return err
		}
		for r, err := range recordings {
			if err == nil {
				err = putRow(ctx, tx, r, replaceRow)
			}
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("rebuild the index: %w", err)
	}
	return n, nil
}

// Rows returns the index as it is stored, a line for each recording in the
// order of their ids, to compare two.
func (c *Catalog) Rows(ctx context.Context) ([]string, error) {
	rows, err := c.db.QueryContext(ctx, `SELECT id, started, state, user_text, target_text, any_text, session, summary, ended, retention FROM index_recordings ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var id, state, user, target, any, session, summary string
		var started, ended, retention int64
		if err := rows.Scan(&id, &started, &state, &user, &target, &any, &session, &summary, &ended, &retention); err != nil {
			return nil, fmt.Errorf("catalog: %w", err)
		}
		all = append(all, fmt.Sprintf("%s %d %s %q %q %q %s %s %d %d", id, started, state, user, target, any, session, summary, ended, retention))
	}
	return all, rows.Err()
}
