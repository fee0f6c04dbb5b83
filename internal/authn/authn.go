// Package authn turns the access token of a request into a principal (RFC 6750, RFC 9068, RFC 9449), says no in the way
// that MCP clients understand (WWW-Authenticate with resource_metadata and scope), and serves the metadata that tells
// clients where to get a token (RFC 9728).
//
// It owns the rules of a token: issuer, type, times, audience, client, claims, scopes, revocation. It does not own
// signatures and keys (jose), how tokens come about (authserver), or what a principal may do (policy). It never passes
// a token on: what leaves here is the principal.
package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/web"
)

// Revocations knows which access has been revoked. It is asked on every request, so it must answer from memory.
type Revocations interface {
	// Revoked reports whether a token that was issued at this time to this person, under this grant, for this client has
	// been revoked since.
	Revoked(key identity.PersonKey, grant identity.GrantID, client identity.ClientID, issued time.Time) bool
	// Current reports whether the answer can be relied upon now. While it cannot, nobody gets in.
	Current(now time.Time) bool
}

// Options configures an Authenticator.
type Options struct {
	Revocations Revocations
	Now         func() time.Time
	Log         *slog.Logger // may be left out
	CacheSize   int          // accepted tokens kept; default 16,384, a few KiB each
	Nonces      *dpop.Nonces // for proofs of possession; without it none is required or checked
	Proofs      int          // proofs remembered so that none comes twice; default 500,000
}

// Authenticator checks bearer tokens. Accepted tokens are remembered by their SHA-256 until they expire, so that a
// signature is checked once; the endpoint's rules and the revocations have their say on every request. It is safe for
// concurrent use.
type Authenticator struct {
	revocations Revocations
	now         func() time.Time
	log         *slog.Logger
	cache       *cache
	nonces      *dpop.Nonces
	seen        *dpop.Seen
	blind       atomic.Bool // revocations were too old at the last request; to log the change only
}

// New checks the options.
func New(o Options) (*Authenticator, error) {
	if o.Revocations == nil || o.Now == nil {
		return nil, errors.New("authenticator: revocations and clock are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 16 << 10
	}
	return &Authenticator{revocations: o.Revocations, now: o.Now, log: o.Log, cache: newCache(o.CacheSize), nonces: o.Nonces, seen: dpop.NewSeen(o.Proofs)}, nil
}

// CacheCounts say how the memory of accepted tokens is doing.
type CacheCounts struct {
	Hits, Misses uint64
	Tokens       int
}

// Cached returns the counts of this moment.
func (a *Authenticator) Cached() CacheCounts { return a.cache.counts() }

// Authenticate returns the principal of a request to an endpoint. The principal is shared with other requests of the same
// token and must not be changed. The error is always a *Refusal; its full text is noted in the request's log record. It must
// be called once for a request: a proof of possession that came with it is used up. To check such a proof it may read the
// request's body, and puts it back.
func (a *Authenticator) Authenticate(r *http.Request, e *Endpoint) (*identity.Principal, error) {
	return a.authenticate(r, e, true)
}

// Recheck is Authenticate for a request that was let in before and lasts, such as a stream: it says whether the token is still
// good. Proofs of possession are not checked again, because each counts once.
func (a *Authenticator) Recheck(r *http.Request, e *Endpoint) (*identity.Principal, error) {
	return a.authenticate(r, e, false)
}

// authenticate does both. With proven, the holder of a bound token must prove that the key is theirs.
func (a *Authenticator) authenticate(r *http.Request, e *Endpoint, proven bool) (*identity.Principal, error) {
	if e.Anonymous {
		return anonymous(r)
	}
	given, refusal := readCredentials(r)
	if refusal == nil {
		var v *verified
		if v, refusal = a.check(r.Context(), given.token, e); refusal == nil && proven {
			refusal = a.possession(r, e, given, v)
		}
		if refusal == nil {
			return v.judge(e).principal, nil
		}
	}
	notes := web.NotesOf(r.Context())
	notes.Text("auth_refused", string(refusal.Reason))
	if refusal.Cause != nil {
		notes.Text("auth_detail", refusal.Cause.Error())
	}
	return nil, refusal
}

// check returns what is known about a token that the endpoint's rules let in and that was not revoked. A token that was
// accepted before comes from the cache; it is verified anew only when its issuer's keys have changed, when introspection is
// due, or when this endpoint's rules refuse it (the endpoint may have other keys for the same issuer).
func (a *Authenticator) check(ctx context.Context, token string, e *Endpoint) (*verified, *Refusal) {
	now := a.now()
	if refusal := a.checkRevocationsCurrent(ctx, now); refusal != nil {
		return nil, refusal
	}
	key := digestOf(token)
	v := a.cache.get(key)
	switch {
	case v == nil || v.due(now) || v.judge(e).refusal != nil:
		var refusal *Refusal
		if v, refusal = verify(ctx, token, e, now); refusal != nil {
			return nil, refusal
		}
		a.cache.put(key, v, now)
	case !now.Before(v.expires):
		return nil, expired(v.expires)
	}
	p := v.judge(e).principal
	if a.revocations.Revoked(p.Key, p.Grant, p.Client, p.IssuedAt) {
		return nil, invalidToken(stepScope, TokenRevoked, "the access token was revoked; sign in again", nil)
	}
	return v, nil
}

// checkRevocationsCurrent refuses everybody while the list of revocations is too old to be trusted. It logs when that begins
// and when it ends.
func (a *Authenticator) checkRevocationsCurrent(ctx context.Context, now time.Time) *Refusal {
	if a.revocations.Current(now) {
		if a.blind.Load() && a.blind.Swap(false) {
			a.log.InfoContext(ctx, "revocations are known again; requests are served")
		}
		return nil
	}
	if !a.blind.Swap(true) {
		a.log.ErrorContext(ctx, "revocations are too old; every request is refused until the database answers")
	}
	return unavailable(RevocationsUnknown, "access cannot be checked at the moment; try again shortly",
		errors.New("the list of revocations is too old; is the database reachable?"))
}

// verify checks the signature, the times and the rules of a token that is not in the cache. An endpoint may have several
// authorizers for one issuer, with different sets of keys; the first set under which the token is accepted counts. A token
// that is no JWT is introspected at its issuer, if an authorizer says so.
func verify(ctx context.Context, token string, e *Endpoint, now time.Time) (*verified, *Refusal) {
	t, err := jose.Read(token)
	switch {
	case err != nil && jose.ReasonOf(err) == jose.Malformed && looksOpaque(token):
		if v, refusal := introspect(ctx, token, e, now); v != nil || refusal != nil {
			return v, refusal
		}
		return nil, opaqueRefused(err)
	case err != nil:
		return nil, fromJOSE(err)
	}
	var refusal *Refusal
	for _, keys := range e.keysFor(t.Issuer) {
		v, trouble := verifyWith(ctx, t, keys, now)
		if trouble == nil {
			trouble = v.judge(e).refusal
		}
		if trouble == nil {
			return v, nil
		}
		refusal = further(refusal, trouble)
	}
	if refusal == nil {
		refusal = invalidToken(stepIssuer, UnknownIssuer, "the issuer of the access token is not accepted here", fmt.Errorf("iss is %.200q", t.Issuer))
	}
	return nil, refusal
}

// verifyWith checks a token under one set of keys: first the signature, then the claims. Until the signature is good nobody
// stands behind the claims, and a forged token that happens to have expired must be refused, and explained, as a forged one.
func verifyWith(ctx context.Context, signed *jose.Signed, keys issuerKeys, now time.Time) (*verified, *Refusal) {
	generation := keys.source.Generation()
	t, err := signed.Open(ctx, keys.source, keys.algorithms)
	if err != nil {
		return nil, fromJOSE(err)
	}
	v, refusal := readToken(t, now)
	if refusal != nil {
		return nil, refusal
	}
	v.keys, v.generation = keys.source, generation
	return v, nil
}

// issuerKeys are the keys of one issuer and the algorithms that its authorizers allow between them; which of them
// allows which is judged later.
type issuerKeys struct {
	source     jose.KeySource
	algorithms []string
}

// keysFor returns the sets of keys of the authorizers that take tokens of an issuer, each set once.
func (e *Endpoint) keysFor(iss identity.Issuer) []issuerKeys {
	var out []issuerKeys
	for _, z := range e.Authorizers {
		if !z.accepts(iss) {
			continue
		}
		i := slices.IndexFunc(out, func(k issuerKeys) bool { return k.source == z.Keys })
		if i < 0 {
			out = append(out, issuerKeys{z.Keys, z.algorithms()})
			continue
		}
		out[i].algorithms = append(slices.Clip(out[i].algorithms), z.algorithms()...)
	}
	return out
}
