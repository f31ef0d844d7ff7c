// Package catalog keeps what Sallyport looks up by SQL, in two parts that share
// a database and nothing else: the state (users, key bindings, certificate
// serials), which is authoritative and must be backed up, and the index of
// recordings, which can be dropped and rebuilt from the recordings themselves.
//
// The SQL and the migrations are written so that PostgreSQL takes them too.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// ErrNotFound says that the catalog holds no such user, binding or recording.
var ErrNotFound = errors.New("not in the catalog")

// Catalog is an open database. It is safe for concurrent use, and so are
// several Catalogs of one file, also in several processes.
type Catalog struct {
	db *sql.DB
	// writing admits one writer of this process at a time, so that writers
	// queue here, in order, rather than in SQLite's timed retries.
	writing chan struct{}
}

// Open opens the SQLite database at path, makes it (mode 0600) when there is
// none, and brings its schema up to date. It refuses a database that a newer
// version has written.
func Open(ctx context.Context, path string) (*Catalog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	// SQLite has one writer at a time; a few readers more are plenty, and
	// idle ones are kept because each carries its own page cache.
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(4)
	if err := migrate(ctx, db); err != nil {
		db.Close()
		return nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	return &Catalog{db: db, writing: make(chan struct{}, 1)}, nil
}

// Close closes the database. Calls under way fail.
func (c *Catalog) Close() error { return c.db.Close() }

// dsn names path for the driver, with a write-ahead log, five seconds of
// patience with other processes, and a disk write for every commit.
func dsn(path string) string {
	q := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "foreign_keys(1)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}
	var name strings.Builder
	for _, c := range []byte(path) {
		if c == '?' || c == '#' || c == '%' { // special in SQLite's URI file names
			fmt.Fprintf(&name, "%%%02x", c)
			continue
		}
		name.WriteByte(c)
	}
	return "file:" + name.String() + "?" + q.Encode()
}

// write runs f in a transaction, again when another writer was in the way. f
// may therefore run more than once; what it did is durable once write returns
// nil.
func (c *Catalog) write(ctx context.Context, f func(*sql.Tx) error) error {
	select {
	case c.writing <- struct{}{}:
		defer func() { <-c.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return retry(ctx, func() error {
		tx, err := c.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := f(tx); err != nil {
			tx.Rollback()
			return err
		}
		return tx.Commit()
	})
}

// retry runs f until it succeeds, fails for a reason of its own, or ten tries
// with growing pauses (two seconds in all) met other writers every time.
func retry(ctx context.Context, f func() error) error {
	pause := 2 * time.Millisecond
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == 10 || !transient(err) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause *= 2
	}
}

// transient reports whether err means "try that transaction again": SQLite's
// BUSY and LOCKED, or SQLSTATE 40001 (serialization failure) and 40P01
// (deadlock).
func transient(err error) bool {
	var lite interface{ Code() int }
	if errors.As(err, &lite) {
		primary := lite.Code() & 0xff // the rest is SQLite's extended code
		return primary == 5 || primary == 6
	}
	var std interface{ SQLState() string }
	return errors.As(err, &std) && (std.SQLState() == "40001" || std.SQLState() == "40P01")
}

// found turns "no rows" into ErrNotFound.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// text makes s fit for a TEXT column of every database: valid UTF-8 and no
// NUL, which PostgreSQL refuses and SQLite's LIKE stops at.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
