package store

import (
	"context"
	"slices"
	"time"

	"gatehouse/internal/identity"
)

// kindIDPSession is a session that an identity provider has ended: no sign-in that rests on it comes in any more. Its
// subject is the sid. It is for sign-ins that are under way; tokens die by the revocations of their grants.
const kindIDPSession = "idp_session"

// IDPLogout is what a provider says when somebody signed out there (OpenID Connect Back-Channel Logout §2.4).
type IDPLogout struct {
	Provider     string
	Issuer       identity.Issuer
	TokenSubject string // sub; may be empty when there is a session
	IDPSession   string // sid; empty for every session of the subject
	ID           string // jti, counted once
	ReplayUntil  time.Time
	Reason       string
}

// EndIDPSession ends what rests on a session at a provider, or on all sessions of a person there: browser sessions, codes,
// grants and tokens. It returns whom it concerned, and whether the logout was new; a repeated one ends nothing. What came
// about without a session's name counts as of every session of that person.
func (s *Store) EndIDPSession(ctx context.Context, l IDPLogout) (people []string, fresh bool, err error) {
	err = s.revoke(ctx, func(tx conn) (revocations []Revocation, err error) {
		purpose := "logout token of " + l.Provider
		n, err := tx.exec(ctx, `INSERT INTO used_ids (id_hash, purpose, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			onceHash(purpose, l.ID), purpose, micros(l.ReplayUntil))
		if fresh = err == nil && n == 1; !fresh {
			return nil, err
		}
		named, err := many(ctx, tx, scanValue[string], `SELECT id FROM federated_people WHERE provider = ? AND issuer = ? AND token_subject = ?`,
			l.Provider, l.Issuer, l.TokenSubject)
		switch {
		case err != nil:
			return nil, err
		case l.IDPSession == "":
			people = named
			return s.endEverySession(ctx, tx, named, l.Reason)
		}
		people, revocations, err = s.endOneSession(ctx, tx, l, named)
		return revocations, err
	})
	if err != nil {
		return nil, false, wrap("end session at identity provider", err)
	}
	return people, fresh, nil
}

// endEverySession ends all that the people have here. The provider's refresh tokens go too: they would be asked for
// nobody.
func (s *Store) endEverySession(ctx context.Context, tx conn, people []string, reason string) (revocations []Revocation, err error) {
	for _, id := range people {
		if _, err := tx.exec(ctx, `UPDATE federated_people SET sealed = NULL, lease = '', lease_until = 0, interrupted = FALSE WHERE id = ?`, id); err != nil {
			return nil, err
		}
		ended, err := s.endPerson(ctx, tx, identity.PersonKey{Subject: id}, reason)
		if err != nil {
			return nil, err
		}
		revocations = append(revocations, ended...)
	}
	return revocations, nil
}

// endOneSession ends what rests on the session that the provider names, and of the people that it names what rests on
// none.
func (s *Store) endOneSession(ctx context.Context, tx conn, l IDPLogout, named []string) (people []string, revocations []Revocation, err error) {
	people, revocations, err = s.endResting(ctx, tx, l.Reason, `idp_session = ?`, `IN (SELECT id FROM federated_people WHERE provider = ? AND issuer = ?)`,
		l.IDPSession, l.Provider, l.Issuer)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range named {
		who, ended, err := s.endResting(ctx, tx, l.Reason, `idp_session = ''`, `= ?`, id)
		if err != nil {
			return nil, nil, err
		}
		people, revocations = append(people, who...), append(revocations, ended...)
	}
	slices.Sort(people)
	revocations = append(revocations, Revocation{Kind: kindIDPSession, Issuer: l.Issuer, Subject: l.IDPSession, Expires: s.now().Add(day), Reason: l.Reason})
	return slices.Compact(people), revocations, nil
}

// endResting ends the browser sessions, codes and grants of federated people for which both conditions hold. Grants have a
// revocation each, because a token of one may be in the making.
func (s *Store) endResting(ctx context.Context, tx conn, reason, session, whose string, args ...any) (people []string, revocations []Revocation, err error) {
	ofSessions := session + ` AND provider != '' AND user_id ` + whose
	people, err = many(ctx, tx, scanValue[string], `SELECT user_id FROM browser_sessions WHERE `+ofSessions, args...)
	if err != nil {
		return nil, nil, err
	}
	if _, err := tx.exec(ctx, `DELETE FROM browser_sessions WHERE `+ofSessions, args...); err != nil {
		return nil, nil, err
	}
	ofGrants := session + ` AND subject ` + whose
	ended, err := many(ctx, tx, scanPair, `SELECT grant_id, subject FROM grants WHERE revoked_at = 0 AND `+ofGrants, args...)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range ended {
		people = append(people, e[1])
		revocations = append(revocations, Revocation{Kind: KindGrant, Subject: e[0], Expires: s.now().Add(revocationLife), Reason: reason})
	}
	return people, revocations, s.endGrants(ctx, tx, ofGrants, reason, args...)
}

func scanPair(r row) (p [2]string, err error) { return p, r.Scan(&p[0], &p[1]) }

// RevokeGrantsOf ends what a person allowed clients to do, and leaves them signed in. It returns how many grants that were.
func (s *Store) RevokeGrantsOf(ctx context.Context, key identity.PersonKey, reason string) (n int, err error) {
	if key.Subject == "" {
		return 0, errNobody
	}
	const which = `subject = ? AND issuer = ?`
	err = s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		ended, err := many(ctx, tx, scanValue[string], `SELECT grant_id FROM grants WHERE revoked_at = 0 AND `+which, key.Subject, key.Issuer)
		if err != nil {
			return nil, err
		}
		var revocations []Revocation
		for _, id := range ended {
			revocations = append(revocations, Revocation{Kind: KindGrant, Subject: id, Expires: s.now().Add(revocationLife), Reason: reason})
		}
		n = len(ended)
		return revocations, s.endGrants(ctx, tx, which, reason, key.Subject, key.Issuer)
	})
	return n, wrap("revoke grants of person", err)
}
