package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"gatehouse/internal/identity"
)

// User is a person of the built-in user table.
type User struct {
	ID            string // the subject: random, never reused
	Username      string // unique without regard to case
	Name          string
	Email         string
	EmailVerified bool
	Groups        []string
	Claims        map[string]any
	PasswordHash  string // empty: no password
	Disabled      bool
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

const userColumns = `id, username, name, email, email_verified, groups_json, claims_json, password_hash, disabled, created_at, updated_at`

func scanUser(r row) (u User, err error) {
	err = r.Scan(&u.ID, &u.Username, &u.Name, &u.Email, &u.EmailVerified, fromJSON{&u.Groups}, fromJSON{&u.Claims},
		&u.PasswordHash, &u.Disabled, atTime{&u.CreatedAt}, atTime{&u.UpdatedAt})
	return u, err
}

func usernameKey(name string) string { return strings.ToLower(name) }

// CreateUser adds a user, or returns ErrExists when the name or the ID is taken. A zero CreatedAt means now.
func (s *Store) CreateUser(ctx context.Context, u User) error {
	if u.ID == "" || u.Username == "" {
		return errors.New("create user: ID and username must be set")
	}
	if u.CreatedAt.IsZero() {
		u.CreatedAt = s.now()
	}
	if u.UpdatedAt.IsZero() {
		u.UpdatedAt = u.CreatedAt
	}
	groups, claims, err := accessJSON(u.Groups, u.Claims)
	if err != nil {
		return wrap("create user", err)
	}
	return wrap("create user", s.change(ctx, func(tx conn) error {
		n, err := tx.exec(ctx, `INSERT INTO users (`+userColumns+`, username_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, u.ID, u.Username, u.Name, u.Email, u.EmailVerified, groups, claims, u.PasswordHash,
			u.Disabled, micros(u.CreatedAt), micros(u.UpdatedAt), usernameKey(u.Username))
		if err == nil && n == 0 {
			return ErrExists
		}
		return err
	}))
}

func accessJSON(groups []string, claims map[string]any) (groupsJSON, claimsJSON string, err error) {
	if groupsJSON, err = toJSON(groups); err != nil {
		return "", "", err
	}
	claimsJSON, err = toJSON(claims)
	return groupsJSON, claimsJSON, err
}

// UserByName finds a user without regard to case. Disabled users are found too.
func (s *Store) UserByName(ctx context.Context, name string) (User, error) {
	if !validAnywhere(name) { // people type anything
		return User{}, wrap("find user by name", ErrNotFound)
	}
	u, err := one(ctx, s.read, scanUser, `SELECT `+userColumns+` FROM users WHERE username_key = ?`, usernameKey(name))
	return u, wrap("find user by name", err)
}

// UserByID finds a user by subject. Disabled users are found too.
func (s *Store) UserByID(ctx context.Context, id string) (User, error) {
	u, err := one(ctx, s.read, scanUser, `SELECT `+userColumns+` FROM users WHERE id = ?`, id)
	return u, wrap("find user by ID", err)
}

// Users lists all users by name.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	all, err := many(ctx, s.read, scanUser, `SELECT `+userColumns+` FROM users ORDER BY username_key`)
	return all, wrap("list users", err)
}

// SetPasswordHash changes the password and ends whatever the old one led to: browser sessions, codes and grants.
func (s *Store) SetPasswordHash(ctx context.Context, id, hash string) error {
	return wrap("set password", s.changeUser(ctx, userChange{id: id, reason: "password changed", ends: true},
		`password_hash = ?`, hash))
}

// UpgradePasswordHash replaces a hash by a stronger one of the same password. When the password has changed in
// between it does nothing.
func (s *Store) UpgradePasswordHash(ctx context.Context, id, old, upgraded string) error {
	return wrap("upgrade password hash", s.change(ctx, func(tx conn) error {
		_, err := tx.exec(ctx, `UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?`, upgraded, id, old)
		return err
	}))
}

// SetUserAccess changes groups and claims. Access tokens issued before are dead; grants stay, and give tokens with
// the new values.
func (s *Store) SetUserAccess(ctx context.Context, id string, groups []string, claims map[string]any) error {
	groupsJSON, claimsJSON, err := accessJSON(groups, claims)
	if err != nil {
		return wrap("set access of user", err)
	}
	return wrap("set access of user", s.changeUser(ctx, userChange{id: id, reason: "access changed"},
		`groups_json = ?, claims_json = ?`, groupsJSON, claimsJSON))
}

// SetUserDisabled shuts a user out, with every session, code, grant and token, or lets the user in again, who then
// has to sign in anew.
func (s *Store) SetUserDisabled(ctx context.Context, id string, disabled bool) error {
	c := userChange{id: id, reason: "user enabled"}
	if disabled {
		c = userChange{id: id, reason: "user disabled", ends: true}
	}
	return wrap("set whether user is disabled", s.changeUser(ctx, c, `disabled = ?`, disabled))
}

// userChange is a change to a user that outdates the access tokens, and perhaps more.
type userChange struct {
	id     string
	reason string
	ends   bool // sessions, codes and grants as well
}

func (s *Store) changeUser(ctx context.Context, c userChange, assignments string, args ...any) error {
	return s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		args := append(args, micros(s.now()), c.id)
		if err := tx.execOne(ctx, `UPDATE users SET `+assignments+`, updated_at = ? WHERE id = ?`, args...); err != nil {
			return nil, err
		}
		key := identity.PersonKey{Subject: c.id}
		if c.ends {
			return s.endPerson(ctx, tx, key, c.reason)
		}
		return []Revocation{s.personRevocation(key, c.reason)}, nil
	})
}

// mustBeEnabled holds a user still for the rest of the transaction.
func mustBeEnabled(ctx context.Context, tx conn, id string) error {
	disabled, err := one(ctx, tx, scanValue[bool], `SELECT disabled FROM users WHERE id = ? FOR SHARE`, id)
	if errors.Is(err, ErrNotFound) || disabled {
		return identity.ErrGone
	}
	return err
}

// mustBeUnchanged comes after mustBeEnabled, which holds the row.
func mustBeUnchanged(ctx context.Context, tx conn, id string, asOf time.Time) error {
	if asOf.IsZero() {
		return nil
	}
	updated, err := one(ctx, tx, scanValue[int64], `SELECT updated_at FROM users WHERE id = ?`, id)
	if err == nil && updated != micros(asOf) {
		return identity.ErrGone
	}
	return err
}
