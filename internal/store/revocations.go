package store

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/identity"
)

// The kinds of revocation.
const (
	KindAll    = "all"    // every token issued before
	KindPerson = "person" // a person's tokens issued before
	KindGrant  = "grant"  // every token of one grant
	KindClient = "client" // every token of a client, for ever
)

// revocationLife is longer than any token lives.
const revocationLife = 91 * day

// errNobody keeps a forgotten name from shutting out everybody who has none.
var errNobody = errors.New("revoke: nobody is named")

// Revocation says which tokens are dead although they look alive.
type Revocation struct {
	Seq     int64
	Kind    string
	Issuer  identity.Issuer // of a person; empty for a built-in user, whose ID is unique by itself
	Subject string          // of a person; or the grant's or the client's ID
	Before  time.Time       // tokens issued before are dead
	Expires time.Time       // zero means never
	Reason  string
}

const revocationColumns = `seq, kind, issuer, subject, before_at, expires, reason`

func scanRevocation(r row) (v Revocation, err error) {
	err = r.Scan(&v.Seq, &v.Kind, &v.Issuer, &v.Subject, atTime{&v.Before}, atTime{&v.Expires}, &v.Reason)
	return v, err
}

// RevocationsSince lists the revocations after a sequence number, in order. Whoever has seen a number has seen every
// smaller one: numbers become visible in order.
func (s *Store) RevocationsSince(ctx context.Context, seq int64) ([]Revocation, error) {
	all, err := many(ctx, s.read, scanRevocation, `SELECT `+revocationColumns+` FROM revocations WHERE seq > ? AND (expires = 0 OR expires > ?) ORDER BY seq`,
		seq, micros(s.now()))
	return all, wrap("read revocations", err)
}

// RevokeGrant ends a grant, with its code and its tokens. The grant need not exist yet: then it never will.
func (s *Store) RevokeGrant(ctx context.Context, id identity.GrantID, reason string) error {
	if id == "" {
		return errNobody // tokens that others issued have no grant
	}
	return wrap("revoke grant", s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		if err := s.endGrants(ctx, tx, "grant_id = ?", reason, string(id)); err != nil {
			return nil, err
		}
		return s.unlessStanding(ctx, tx, Revocation{Kind: KindGrant, Subject: string(id), Expires: s.now().Add(revocationLife), Reason: reason})
	}))
}

// RevokePerson ends everything that a person has here: browser sessions, codes, grants and tokens.
func (s *Store) RevokePerson(ctx context.Context, key identity.PersonKey, reason string) error {
	if key.Subject == "" {
		return errNobody
	}
	return wrap("revoke person", s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		return s.endPerson(ctx, tx, key, reason)
	}))
}

// RevokeClient puts a client on the deny list, for ever, and ends what people granted to it.
func (s *Store) RevokeClient(ctx context.Context, id identity.ClientID, reason string) error {
	if id == "" {
		return errNobody
	}
	return wrap("revoke client", s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		if err := s.endGrants(ctx, tx, "client = ?", reason, string(id)); err != nil {
			return nil, err
		}
		return s.unlessStanding(ctx, tx, Revocation{Kind: KindClient, Subject: string(id), Reason: reason})
	}))
}

// ClientRevoked reports whether a client is on the deny list.
func (s *Store) ClientRevoked(ctx context.Context, id identity.ClientID) (bool, error) {
	if !validAnywhere(string(id)) { // strangers send anything
		return false, nil
	}
	n, err := one(ctx, s.read, scanValue[int], `SELECT COUNT(*) FROM revocations WHERE kind = 'client' AND subject = ?`, id)
	return n > 0, wrap("look up client revocation", err)
}

// revoke runs f in a transaction and writes the revocations that it returns. It holds the sequence row from the
// first moment: so no grant is created meanwhile, numbers become visible in order, and locks have one order.
func (s *Store) revoke(ctx context.Context, f func(tx conn) ([]Revocation, error)) error {
	var revocations []Revocation
	err := s.change(ctx, func(tx conn) error {
		last, err := one(ctx, tx, scanValue[int64], `SELECT last FROM revocation_seq FOR UPDATE`)
		if err != nil {
			return err
		}
		if revocations, err = f(tx); err != nil {
			return err
		}
		for i := range revocations {
			r := &revocations[i]
			last = max(last+1, r.Seq)
			if r.Before.IsZero() {
				r.Before = s.now().Truncate(time.Microsecond)
			}
			if _, err := tx.exec(ctx, `INSERT INTO revocations (`+revocationColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				last, r.Kind, r.Issuer, r.Subject, micros(r.Before), micros(r.Expires), forDisplay(r.Reason)); err != nil {
				return err
			}
		}
		if len(revocations) == 0 {
			return nil
		}
		return tx.execOne(ctx, `UPDATE revocation_seq SET last = ?`, last)
	})
	if err == nil {
		s.revoked.add(revocations)
	}
	return err
}

// unlessStanding keeps a stranger who repeats a used code from filling the table.
func (s *Store) unlessStanding(ctx context.Context, tx conn, r Revocation) ([]Revocation, error) {
	n, err := one(ctx, tx, scanValue[int], `SELECT COUNT(*) FROM revocations WHERE kind = ? AND subject = ?`, r.Kind, r.Subject)
	if err != nil || n > 0 {
		return nil, err
	}
	return []Revocation{r}, nil
}

func (s *Store) personRevocation(key identity.PersonKey, reason string) Revocation {
	return Revocation{Kind: KindPerson, Issuer: key.Issuer, Subject: key.Subject, Expires: s.now().Add(revocationLife), Reason: reason}
}

// endPerson ends browser sessions, codes and grants. It returns a revocation for each grant besides the person's own,
// because a token of such a grant may be in the making and come out with a later time. An empty issuer is any.
func (s *Store) endPerson(ctx context.Context, tx conn, key identity.PersonKey, reason string) ([]Revocation, error) {
	if _, err := tx.exec(ctx, `DELETE FROM browser_sessions WHERE user_id = ?`, key.Subject); err != nil {
		return nil, err
	}
	who, args := `subject = ?`, []any{key.Subject}
	if key.Issuer != "" {
		who, args = `subject = ? AND issuer = ?`, append(args, key.Issuer)
	}
	ended, err := many(ctx, tx, scanValue[string], `SELECT grant_id FROM grants WHERE revoked_at = 0 AND `+who, args...)
	if err != nil {
		return nil, err
	}
	revocations := []Revocation{s.personRevocation(key, reason)}
	for _, id := range ended {
		revocations = append(revocations, Revocation{Kind: KindGrant, Subject: id, Expires: s.now().Add(revocationLife), Reason: reason})
	}
	return revocations, s.endGrants(ctx, tx, who, reason, args...)
}

// endGrants ends the grants that the condition names, and the codes that would become such grants.
func (s *Store) endGrants(ctx context.Context, tx conn, which, reason string, args ...any) error {
	if _, err := tx.exec(ctx, `UPDATE codes SET revoked = TRUE WHERE revoked = FALSE AND `+which, args...); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `UPDATE grants SET revoked_at = ?, revoked_reason = ? WHERE revoked_at = 0 AND `+which,
		append([]any{micros(s.now()), forDisplay(reason)}, args...)...)
	return err
}
