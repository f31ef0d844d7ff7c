package catalog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/policy"
)

// PutUser stores u as last seen at the time at, in place of what was known of
// that principal (which is
// the issuer and the subject, so these must be UTF-8 without a NUL).
func (c *Catalog) PutUser(ctx context.Context, u policy.User, at time.Time) error {
	if u.IsZero() {
		return errors.New("store user: no issuer or no subject")
	}
	if text(u.Issuer) != u.Issuer || text(u.Subject) != u.Subject {
		// Stored otherwise than it came, it would be another principal.
		return errors.New("store user: the issuer or the subject has a NUL or is not UTF-8")
	}
	groups, err := json.Marshal(u.Groups)
	if err != nil {
		return fmt.Errorf("store user: %w", err)
	}
	err = c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO state_users (principal, issuer, subject, name, email, group_list, seen)
			VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (principal) DO UPDATE SET
				name = excluded.name, email = excluded.email,
				group_list = excluded.group_list, seen = excluded.seen`,
			string(u.Principal()), text(u.Issuer), text(u.Subject), text(u.Name), text(u.Email),
			text(string(groups)), micros(at))
		return err
	})
	if err != nil {
		return fmt.Errorf("store user: %w", err)
	}
	return nil
}

// User returns the user with principal p as PutUser stored it last, or
// ErrNotFound.
func (c *Catalog) User(ctx context.Context, p policy.Principal) (policy.User, error) {
	var u policy.User
	var groups string
	err := retry(ctx, func() error {
		return c.db.QueryRowContext(ctx,
			`SELECT issuer, subject, name, email, group_list FROM state_users WHERE principal = $1`, string(p)).
			Scan(&u.Issuer, &u.Subject, &u.Name, &u.Email, &groups)
	})
	if err != nil {
		return policy.User{}, fmt.Errorf("user %s: %w", p, found(err))
	}
	if err := json.Unmarshal([]byte(groups), &u.Groups); err != nil {
		return policy.User{}, fmt.Errorf("user %s: groups: %w", p, err)
	}
	return u, nil
}

// Binding says that who holds a key signed in as a principal, for a while.
type Binding struct {
	Fingerprint policy.Fingerprint
	Principal   policy.Principal // PutUser must have stored this user
	Source      string           // client address of the sign-in
	Created     time.Time
	Expires     time.Time // for the caller to compare; expired bindings stay
}

// Bind stores b in place of any earlier binding of the same key. It is durable
// on return.
func (c *Catalog) Bind(ctx context.Context, b Binding) error {
	if b.Fingerprint == "" || b.Principal == "" {
		return errors.New("bind key: no fingerprint or no principal")
	}
	err := c.write(ctx, func(tx *sql.Tx) error {
		var known int
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM state_users WHERE principal = $1`, string(b.Principal)).Scan(&known)
		if err != nil {
			return err
		}
		if known == 0 {
			return fmt.Errorf("principal %s: %w", b.Principal, ErrNotFound)
		}
		_, err = tx.ExecContext(ctx, `
			INSERT INTO state_bindings (fingerprint, principal, source, created, expires)
			VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (fingerprint) DO UPDATE SET
				principal = excluded.principal, source = excluded.source,
				created = excluded.created, expires = excluded.expires`,
			text(string(b.Fingerprint)), string(b.Principal), text(b.Source), micros(b.Created), micros(b.Expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("bind key: %w", err)
	}
	return nil
}

// Binding returns the binding of key f, expired or not, or ErrNotFound.
func (c *Catalog) Binding(ctx context.Context, f policy.Fingerprint) (Binding, error) {
	b := Binding{Fingerprint: f}
	var principal string
	var created, expires int64
	err := retry(ctx, func() error {
		return c.db.QueryRowContext(ctx,
			`SELECT principal, source, created, expires FROM state_bindings WHERE fingerprint = $1`, text(string(f))).
			Scan(&principal, &b.Source, &created, &expires)
	})
	if err != nil {
		return Binding{}, fmt.Errorf("binding of key %s: %w", f, found(err))
	}
	b.Principal = policy.Principal(principal)
	b.Created, b.Expires = fromMicros(created), fromMicros(expires)
	return b, nil
}

// Unbind forgets the binding of key f, if there is one.
func (c *Catalog) Unbind(ctx context.Context, f policy.Fingerprint) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM state_bindings WHERE fingerprint = $1`, text(string(f)))
		return err
	})
	if err != nil {
		return fmt.Errorf("unbind key: %w", err)
	}
	return nil
}

// NextSerial reserves a certificate serial: 63 random bits, never zero and
// never one that this catalog has given out before. The reservation is durable
// on return.
func (c *Catalog) NextSerial(ctx context.Context) (policy.Serial, error) {
	return c.nextSerial(ctx, func() int64 {
		var b [8]byte
		rand.Read(b[:])
		return int64(binary.BigEndian.Uint64(b[:]) >> 1)
	})
}

func (c *Catalog) nextSerial(ctx context.Context, random func() int64) (policy.Serial, error) {
	for range 8 { // a second try has odds of one in a thousand million million
		n := random()
		if n <= 0 {
			continue
		}
		var rows int64
		err := c.write(ctx, func(tx *sql.Tx) error {
			r, err := tx.ExecContext(ctx,
				`INSERT INTO state_serials (serial, reserved) VALUES ($1, $2) ON CONFLICT (serial) DO NOTHING`,
				n, time.Now().UnixMicro())
			if err != nil {
				return err
			}
			rows, err = r.RowsAffected()
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("reserve certificate serial: %w", err)
		}
		if rows == 1 {
			return policy.Serial(n), nil
		}
	}
	return 0, errors.New("reserve certificate serial: every random number was taken, so the random source is broken")
}
