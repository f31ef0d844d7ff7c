package catalog

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations
var migrations embed.FS

// The two sets of migrations, each with its own version table, so that the
// index can be dropped and made anew without touching the state.
var schemas = []struct{ name, versions string }{
	{"state", "state_schema"},
	{"index", "index_schema"},
}

// migrate brings both schemas up to date.
func migrate(ctx context.Context, db *sql.DB) error {
	for _, s := range schemas {
		if err := migrateOne(ctx, db, s.name, s.versions); err != nil {
			return fmt.Errorf("%s schema: %w", s.name, err)
		}
	}
	return nil
}

func migrateOne(ctx context.Context, db *sql.DB, name, versions string) error {
	dir, err := fs.Sub(migrations, "migrations/"+name)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir,
		goose.WithTableName(versions), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	// Another process may be doing the same. Whoever comes second waits, or
	// fails and then finds that the version is right.
	return retry(ctx, func() error { return upgrade(ctx, p) })
}

// upgrade runs the migrations that are missing. Where one fails because another
// process has run it just now, it goes on from there.
func upgrade(ctx context.Context, p *goose.Provider) error {
	for {
		current, newest, err := p.GetVersions(ctx)
		if err != nil {
			return err
		}
		if current > newest {
			return fmt.Errorf("the database is at version %d and this sallyport knows only %d: it was written by a newer one", current, newest)
		}
		if current == newest {
			return nil
		}
		_, err = p.Up(ctx)
		if err == nil {
			return nil
		}
		if now, _, e := p.GetVersions(ctx); e != nil || now <= current {
			return err
		}
	}
}
