package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sallyport/policy"
)

// Filter selects recordings. A zero field selects all; the fields given must
// all match. Text is compared without regard to case, and every character in
// it stands for itself.
type Filter struct {
	User   string    // part of the user's name, e-mail address, subject or principal
	Target string    // part of the target's name
	Text   string    // part of any of these, or of the login, the command or the id
	From   time.Time // started then or later
	To     time.Time // started before then
	State  policy.RecordingState
	Limit  int // at most so many; 0 means no limit
	Offset int // leave out so many of the newest
}

// filterLimit bounds each text of a Filter, in bytes: SQLite refuses patterns
// beyond 50,000.
const filterLimit = 1000

// Recordings returns what matches f, newest first.
func (c *Catalog) Recordings(ctx context.Context, f Filter) ([]policy.Recording, error) {
	query, args, err := f.sql()
	if err != nil {
		return nil, err
	}
	var found []policy.Recording
	err = retry(ctx, func() error {
		found = nil
		rows, err := c.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var session, summary string
			if err := rows.Scan(&session, &summary); err != nil {
				return err
			}
			r, err := decode(session, summary)
			if err != nil {
				return err
			}
			found = append(found, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	return found, nil
}

func (f Filter) sql() (string, []any, error) {
	var where []string
	var args []any
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	for _, t := range []struct{ column, part string }{
		{"user_text", f.User}, {"target_text", f.Target}, {"any_text", f.Text},
	} {
		if len(t.part) > filterLimit {
			return "", nil, fmt.Errorf("list recordings: a search text is longer than %d bytes", filterLimit)
		}
		if t.part != "" {
			add(t.column+` LIKE $%d ESCAPE '!'`, "%"+likeEscaper.Replace(lower(t.part))+"%")
		}
	}
	if !f.From.IsZero() {
		add(`started >= $%d`, f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		add(`started < $%d`, f.To.UnixMicro())
	}
	if f.State != "" {
		add(`state = $%d`, text(string(f.State)))
	}
	if f.Limit < 0 || f.Offset < 0 {
		return "", nil, fmt.Errorf("list recordings: limit %d and offset %d must not be negative", f.Limit, f.Offset)
	}
	var q strings.Builder
	q.WriteString(`SELECT session, summary FROM index_recordings`)
	if len(where) > 0 {
		q.WriteString(` WHERE ` + strings.Join(where, ` AND `))
	}
	q.WriteString(` ORDER BY started DESC, id DESC`)
	if f.Limit > 0 || f.Offset > 0 {
		limit := int64(f.Limit)
		if limit == 0 {
			limit = 1<<63 - 1
		}
		args = append(args, limit, f.Offset)
		fmt.Fprintf(&q, ` LIMIT $%d OFFSET $%d`, len(args)-1, len(args))
	}
	return q.String(), args, nil
}

var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")
