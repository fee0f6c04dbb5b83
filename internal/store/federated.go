package store

import (
	"context"
	"crypto/rand"
	"time"

	"gatehouse/internal/identity"
)

// FederatedKey names a person at an identity provider.
type FederatedKey struct {
	Provider string // its name in the configuration
	Issuer   identity.Issuer
	Subject  string
}

// FederatedPerson is somebody for whom an identity provider vouches, and what Gatehouse may ask it about that person.
type FederatedPerson struct {
	ID string // the subject here: random, never reused
	FederatedKey
	TokenSubject string // sub in the issuer's tokens, which need not be the key's

	Username      string
	Name          string
	Email         string // verified
	Groups        []string
	GroupsUnknown bool
	Claims        map[string]any // that tokens carry
	Known         map[string]any // what the provider said, for the rule about who may sign in; nil without one

	Sealed      []byte // the provider's refresh token, sealed by the caller; nil for none
	SignedInAt  time.Time
	VouchedAt   time.Time // when the provider last said yes
	Lease       string    // held by whoever redeems the refresh token just now, until
	LeaseUntil  time.Time
	Interrupted bool   // a holder of the lease vanished, and the refresh token that it got with it
	EndedReason string // why the person may not come in; empty while they may
}

const federatedColumns = `id, provider, issuer, subject, token_subject, username, name, email, groups_json, groups_unknown, claims_json, known_json, sealed, signed_in_at, vouched_at, lease, lease_until, interrupted, ended_reason`

func scanFederated(r row) (p FederatedPerson, err error) {
	err = r.Scan(&p.ID, &p.Provider, &p.Issuer, &p.Subject, &p.TokenSubject, &p.Username, &p.Name, &p.Email, fromJSON{&p.Groups},
		&p.GroupsUnknown, fromJSON{&p.Claims}, fromJSON{&p.Known}, &p.Sealed, atTime{&p.SignedInAt}, atTime{&p.VouchedAt}, &p.Lease, atTime{&p.LeaseUntil},
		&p.Interrupted, &p.EndedReason)
	return p, err
}

// notYet is the EndedReason of a person whose id was made and who never signed in.
const notYet = "has not signed in"

// FederatedID returns the id of a person, which is made when there is none. It lets nobody in.
func (s *Store) FederatedID(ctx context.Context, key FederatedKey) (string, error) {
	find := func(c conn) (string, error) {
		return one(ctx, c, scanValue[string], `SELECT id FROM federated_people WHERE provider = ? AND issuer = ? AND subject = ?`,
			key.Provider, key.Issuer, key.Subject)
	}
	id := ""
	err := s.change(ctx, func(tx conn) (err error) {
		if _, err = tx.exec(ctx, `INSERT INTO federated_people (`+federatedColumns+`, created_at)
			VALUES (?, ?, ?, ?, '', '', '', '', 'null', FALSE, 'null', 'null', NULL, 0, 0, '', 0, FALSE, ?, ?) ON CONFLICT DO NOTHING`,
			rand.Text(), key.Provider, key.Issuer, key.Subject, notYet, micros(s.now())); err != nil {
			return err
		}
		id, err = find(tx)
		return err
	})
	return id, wrap("find federated person", err)
}

// NeverSignedIn reports whether the person is known by name only, and has not been ended.
func (p FederatedPerson) NeverSignedIn() bool { return p.EndedReason == notYet }

// FindFederated finds a person by what the provider calls them, also one who may not come in.
func (s *Store) FindFederated(ctx context.Context, key FederatedKey) (FederatedPerson, error) {
	p, err := one(ctx, s.read, scanFederated, `SELECT `+federatedColumns+` FROM federated_people WHERE provider = ? AND issuer = ? AND subject = ?`,
		key.Provider, key.Issuer, key.Subject)
	return p, wrap("find federated person", err)
}

// FederatedPerson finds a person by id, also one who may not come in.
func (s *Store) FederatedPerson(ctx context.Context, id string) (FederatedPerson, error) {
	p, err := one(ctx, s.read, scanFederated, `SELECT `+federatedColumns+` FROM federated_people WHERE id = ?`, id)
	return p, wrap("find federated person by ID", err)
}

// SignInFederated stores what the provider said of the person with that id, and opens their browser session. It returns
// identity.ErrGone when the provider ended the person or the session there since b.CreatedAt, which is when this sign-in
// was begun to be checked.
//
// Without a refresh token the one that is there stays. When groups or claims are others than before, access tokens
// issued before are dead.
func (s *Store) SignInFederated(ctx context.Context, p FederatedPerson, b BrowserSession) error {
	return wrap("sign in federated person", s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		if err := notEndedSince(ctx, tx, p, b); err != nil {
			return nil, err
		}
		revocations, err := s.saveProfile(ctx, tx, p, b.CreatedAt)
		if err != nil {
			return nil, err
		}
		if len(p.Sealed) > 0 {
			if err := tx.execOne(ctx, `UPDATE federated_people SET sealed = ?, interrupted = FALSE WHERE id = ?`, p.Sealed, p.ID); err != nil {
				return nil, err
			}
		}
		if err := tx.execOne(ctx, `UPDATE federated_people SET token_subject = ?, signed_in_at = ?, vouched_at = ?, lease = '', lease_until = 0,
			ended_reason = '' WHERE id = ?`, p.TokenSubject, micros(b.CreatedAt), micros(b.CreatedAt), p.ID); err != nil {
			return nil, err
		}
		return revocations, insertSession(ctx, tx, b)
	}))
}

// notEndedSince keeps a sign-in from outliving an end that came while it was being checked.
func notEndedSince(ctx context.Context, tx conn, p FederatedPerson, b BrowserSession) error {
	n, err := one(ctx, tx, scanValue[int], `SELECT
		(SELECT COUNT(*) FROM revocations WHERE kind = 'person' AND subject = ? AND before_at > ?) +
		(SELECT COUNT(*) FROM revocations WHERE kind = 'idp_session' AND subject = ? AND issuer = ?)`,
		p.ID, micros(b.CreatedAt), b.IDPSession, p.Issuer)
	if err == nil && n > 0 {
		return identity.ErrGone
	}
	return err
}

// saveProfile replaces what is known of a person. It returns the revocation that ends older access tokens, if groups or
// claims that they carry are no longer so. It counts from before the provider was asked: times in tokens are whole seconds,
// the request that the answer is for began a moment earlier, and the token that rests on the answer must live.
func (s *Store) saveProfile(ctx context.Context, tx conn, p FederatedPerson, asked time.Time) ([]Revocation, error) {
	old, err := one(ctx, tx, scanFederated, `SELECT `+federatedColumns+` FROM federated_people WHERE id = ? FOR UPDATE`, p.ID)
	if err != nil {
		return nil, err
	}
	groups, claims, err := accessJSON(p.Groups, p.Claims)
	if err != nil {
		return nil, err
	}
	oldGroups, oldClaims, err := accessJSON(old.Groups, old.Claims)
	if err != nil {
		return nil, err
	}
	known, err := toJSON(p.Known)
	if err != nil {
		return nil, err
	}
	if err := tx.execOne(ctx, `UPDATE federated_people SET username = ?, name = ?, email = ?, groups_json = ?, groups_unknown = ?, claims_json = ?,
		known_json = ? WHERE id = ?`, p.Username, p.Name, p.Email, groups, p.GroupsUnknown, claims, known, p.ID); err != nil {
		return nil, err
	}
	if old.EndedReason == notYet || groups == oldGroups && claims == oldClaims && p.GroupsUnknown == old.GroupsUnknown {
		return nil, nil
	}
	// Without an issuer, as for built-in users: the id is unique by itself.
	changed := s.personRevocation(identity.PersonKey{Subject: p.ID}, "access changed")
	changed.Before = asked.Add(-time.Second).Truncate(time.Second)
	return []Revocation{changed}, nil
}

// SavePendingSignIn remembers a browser that is sent to an identity provider. The hash is that of its cookie.
func (s *Store) SavePendingSignIn(ctx context.Context, tokenHash, sealed []byte, expires time.Time) error {
	return wrap("save pending sign-in", s.change(ctx, func(tx conn) error {
		_, err := tx.exec(ctx, `INSERT INTO pending_sign_ins (token_hash, sealed, expires) VALUES (?, ?, ?)`, tokenHash, sealed, micros(expires))
		return err
	}))
}

// TakePendingSignIn returns what SavePendingSignIn stored, once and not after it expired.
func (s *Store) TakePendingSignIn(ctx context.Context, tokenHash []byte) ([]byte, error) {
	var sealed []byte
	err := s.change(ctx, func(tx conn) (err error) {
		if sealed, err = one(ctx, tx, scanValue[[]byte], `SELECT sealed FROM pending_sign_ins WHERE token_hash = ? AND expires > ? FOR UPDATE`,
			tokenHash, micros(s.now())); err != nil {
			return err
		}
		return tx.execOne(ctx, `DELETE FROM pending_sign_ins WHERE token_hash = ?`, tokenHash)
	})
	return sealed, wrap("take pending sign-in", err)
}
