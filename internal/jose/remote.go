package jose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/internal/identity"
)

const (
	keepLastGood  = 24 * time.Hour   // how long a key set serves while its issuer is away
	retryAfter    = time.Minute      // wait after a failed refresh
	rediscover    = time.Hour        // how long the discovery document is believed
	demandEvery   = 10 * time.Second // fetches that requests can cause: one per this time …
	demandBurst   = 2                // … and this many at once
	missingFor    = 30 * time.Second // how long a key id that the issuer does not know causes no fetch
	maxMissing    = 256
	fetchTimeout  = 10 * time.Second
	notYetFetched = "the issuer's keys have not been fetched yet"
)

// RemoteOptions says whose keys to fetch, and with what.
type RemoteOptions struct {
	// DiscoveryURL is the issuer's openid-configuration or oauth-authorization-server document.
	DiscoveryURL string
	// JWKSURL is used instead of a discovery URL; Issuer must then be set.
	JWKSURL string
	// Issuer pins the issuer. Without it the discovery document must name the one that its URL was built from.
	Issuer identity.Issuer
	Client *http.Client // redirects to another host are refused, whatever it allows
	Now    func() time.Time
	Log    *slog.Logger
	Told   func(error) // how each fetch went; may be nil
}

func (o RemoteOptions) validate() ([]identity.Issuer, error) {
	switch {
	case o.Client == nil || o.Now == nil || o.Log == nil:
		return nil, errors.New("remote keys: client, clock and log are required")
	case (o.DiscoveryURL == "") == (o.JWKSURL == ""):
		return nil, errors.New("remote keys: give either a discovery URL or a key set URL")
	case o.JWKSURL != "" && o.Issuer == "":
		return nil, errors.New("remote keys: a key set URL needs the issuer beside it")
	}
	if err := checkURL(o.DiscoveryURL + o.JWKSURL); err != nil {
		return nil, fmt.Errorf("remote keys: %w", err)
	}
	if o.JWKSURL != "" {
		return []identity.Issuer{o.Issuer}, nil
	}
	issuers, err := IssuersOf(o.DiscoveryURL)
	if err != nil {
		return nil, fmt.Errorf("remote keys: %w", err)
	}
	if o.Issuer != "" {
		issuers = []identity.Issuer{o.Issuer}
	}
	return issuers, nil
}

// RemoteKeys keeps the published keys of one issuer. Run refreshes them in the background. A request fetches only when
// there are no keys yet or when a token names a key that is not among them, which happens once after a rotation and
// any number of times when somebody forges tokens; so those fetches are shared and rationed. A bad signature never
// fetches. While the issuer is away the last good set serves for 24 hours.
type RemoteKeys struct {
	o       RemoteOptions
	client  *http.Client
	issuers []identity.Issuer // who may be behind the URL; one, once discovered

	current    atomic.Pointer[remoteSet]
	generation atomic.Uint64

	mu      sync.Mutex // guards what follows
	flight  *flight    // the fetch under way
	ration  *rate.Limiter
	missing map[string]time.Time // key ids that the issuer lately did not have, until when
	due     time.Time            // next refresh
	lastErr error                // of the last fetch
	found   metadata
	foundAt time.Time
}

// remoteSet is one fetched state; it never changes.
type remoteSet struct {
	keys    *KeySet
	issuer  identity.Issuer
	fetched time.Time
}

type flight struct{ done chan struct{} }

// NewRemoteKeys checks the options; it fetches nothing yet.
func NewRemoteKeys(o RemoteOptions) (*RemoteKeys, error) {
	issuers, err := o.validate()
	if err != nil {
		return nil, err
	}
	client := *o.Client
	client.CheckRedirect = sameHostOnly(o.Client.CheckRedirect)
	return &RemoteKeys{
		o: o, client: &client, issuers: issuers,
		ration:  rate.NewLimiter(rate.Every(demandEvery), demandBurst),
		missing: map[string]time.Time{},
	}, nil
}

// Issuer returns the issuer as its document spells it, or "" as long as that is unknown.
func (k *RemoteKeys) Issuer() identity.Issuer {
	if len(k.issuers) == 1 {
		return k.issuers[0]
	}
	if set := k.current.Load(); set != nil {
		return set.issuer
	}
	return ""
}

// Issues reports whether tokens with this iss are to be checked with these keys. Before the discovery document was
// read, both spellings that fit its URL are possible.
func (k *RemoteKeys) Issues(iss identity.Issuer) bool {
	if known := k.Issuer(); known != "" {
		return known == iss
	}
	return slices.Contains(k.issuers, iss)
}

// Generation implements KeySource.
func (k *RemoteKeys) Generation() uint64 { return k.generation.Load() }

// Key implements KeySource.
func (k *RemoteKeys) Key(ctx context.Context, kid, alg string) (PublicKey, error) {
	set := k.usable()
	if set == nil || kid != "" && !set.keys.has(kid) {
		var err error
		if set, err = k.renew(ctx, set, kid); err != nil {
			return PublicKey{}, err
		}
	}
	return set.keys.Key(ctx, kid, alg)
}

// Load makes sure that there are keys, within the ration of fetches that requests may cause.
func (k *RemoteKeys) Load(ctx context.Context) error {
	if k.usable() != nil {
		return nil
	}
	_, err := k.renew(ctx, nil, "")
	return err
}

// IntrospectionEndpoint returns where the issuer's discovery document says that tokens may be asked about (RFC 7662).
func (k *RemoteKeys) IntrospectionEndpoint(ctx context.Context) (string, error) {
	if err := k.Load(ctx); err != nil {
		return "", err
	}
	k.mu.Lock()
	endpoint := k.found.introspection
	k.mu.Unlock()
	if endpoint == "" {
		return "", fmt.Errorf("discovery document %s: introspection_endpoint is missing", k.o.DiscoveryURL)
	}
	if err := checkNamed(k.o.DiscoveryURL, endpoint); err != nil {
		return "", fmt.Errorf("discovery document %s: introspection_endpoint: %w", k.o.DiscoveryURL, err)
	}
	return endpoint, nil
}

// Run keeps the keys fresh until ctx ends.
func (k *RemoteKeys) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		k.mu.Lock()
		wait := k.due.Sub(k.o.Now())
		if wait > 0 { // looked at again afterwards: a request may have fetched in the meantime
			k.mu.Unlock()
			if !sleep(ctx, wait) {
				return nil
			}
			continue
		}
		f, mine := k.takeOff()
		k.mu.Unlock()
		if mine {
			k.fly(ctx, f)
		} else if !f.wait(ctx) {
			return nil
		}
	}
	return nil
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// usable returns the set that may still serve.
func (k *RemoteKeys) usable() *remoteSet {
	set := k.current.Load()
	if set == nil || k.o.Now().Sub(set.fetched) > keepLastGood {
		return nil
	}
	return set
}

// renew fetches on behalf of a request that found nothing in seen, if the ration allows, and returns the set that
// holds afterwards.
func (k *RemoteKeys) renew(ctx context.Context, seen *remoteSet, kid string) (*remoteSet, error) {
	k.mu.Lock()
	if k.usable() != seen { // renewed since the caller looked
		k.mu.Unlock()
		return k.orUnavailable(kid)
	}
	f, mine := k.flight, false
	if f == nil {
		now := k.o.Now()
		if now.Before(k.missing[kid]) || !k.ration.AllowN(now, 1) {
			k.mu.Unlock()
			return k.orUnavailable(kid)
		}
		f, mine = k.takeOff()
	}
	k.mu.Unlock()
	if mine {
		// The fetch serves everybody who waits: it does not end when the first caller leaves.
		k.fly(context.WithoutCancel(ctx), f)
	} else if !f.wait(ctx) {
		return nil, fail(KeysUnavailable, "wait for the issuer's keys", ctx.Err())
	}
	set, err := k.orUnavailable(kid)
	if err == nil && kid != "" && !set.keys.has(kid) {
		k.noteMissing(kid)
	}
	return set, err
}

// orUnavailable returns the set that holds. While the issuer cannot be asked, a key that is not in it may be a new one.
func (k *RemoteKeys) orUnavailable(kid string) (*remoteSet, error) {
	set := k.usable()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case set == nil:
		return nil, fail(KeysUnavailable, notYetFetched+" or are too old", k.lastErr)
	case k.lastErr != nil && kid != "" && !set.keys.has(kid):
		return nil, fail(KeysUnavailable, fmt.Sprintf("the issuer's keys cannot be refreshed, and key %q is not among those at hand", kid), k.lastErr)
	}
	return set, nil
}

func (k *RemoteKeys) noteMissing(kid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.missing) >= maxMissing {
		clear(k.missing)
	}
	k.missing[kid] = k.o.Now().Add(missingFor)
}

// takeOff joins the flight under way or starts one; mu is held.
func (k *RemoteKeys) takeOff() (f *flight, mine bool) {
	if k.flight != nil {
		return k.flight, false
	}
	k.flight = &flight{done: make(chan struct{})}
	return k.flight, true
}

// wait reports whether the flight landed before ctx ended.
func (f *flight) wait(ctx context.Context) bool {
	select {
	case <-f.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// fly fetches and lands the flight.
func (k *RemoteKeys) fly(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	err := errors.New("the fetch broke off")
	keep := retryAfter
	defer func() {
		k.mu.Lock()
		k.flight, k.lastErr, k.due = nil, err, k.o.Now().Add(keep)
		k.mu.Unlock()
		close(f.done)
		if k.o.Told != nil {
			k.o.Told(err)
		}
	}()
	var set *remoteSet
	if set, keep, err = k.fetchSet(ctx); err != nil {
		k.o.Log.Warn("issuer keys not refreshed", "url", k.o.DiscoveryURL+k.o.JWKSURL, "error", err)
		return
	}
	for _, skipped := range set.keys.skipped {
		k.o.Log.Debug("issuer key left out", "issuer", set.issuer, "reason", skipped)
	}
	old := k.current.Swap(set)
	if old != nil && !set.keys.covers(old.keys) {
		k.generation.Add(1)
		k.o.Log.Info("issuer withdrew a key", "issuer", set.issuer)
	}
}

// fetchSet reads discovery document and key set; on an error it says how long to wait before the next attempt.
func (k *RemoteKeys) fetchSet(ctx context.Context) (*remoteSet, time.Duration, error) {
	found, err := k.locate(ctx)
	if err != nil {
		return nil, retryAfter, err
	}
	body, header, err := fetch(ctx, k.client, found.jwksURI)
	if err != nil {
		return nil, retryAfter, fmt.Errorf("fetch key set: %w", err)
	}
	keys, err := ParseKeySet(body)
	if err != nil {
		return nil, retryAfter, fmt.Errorf("%s: %w", found.jwksURI, err)
	}
	return &remoteSet{keys: keys, issuer: found.issuer, fetched: k.o.Now()}, freshFor(header), nil
}

// locate returns where the key set is. The document is read again from time to time and after a failure; when only
// that fails, what it said last time still holds.
func (k *RemoteKeys) locate(ctx context.Context) (metadata, error) {
	if k.o.JWKSURL != "" {
		return metadata{issuer: k.o.Issuer, jwksURI: k.o.JWKSURL}, nil
	}
	k.mu.Lock()
	found, foundAt, trouble := k.found, k.foundAt, k.lastErr != nil
	k.mu.Unlock()
	now := k.o.Now()
	if found.jwksURI != "" && !trouble && now.Sub(foundAt) < rediscover {
		return found, nil
	}
	expected := k.issuers
	if found.issuer != "" {
		expected = []identity.Issuer{found.issuer}
	}
	fresh, err := discover(ctx, k.client, k.o.DiscoveryURL, expected)
	if err != nil {
		if found.jwksURI == "" {
			return metadata{}, err
		}
		k.o.Log.Warn("discovery document not refreshed", "url", k.o.DiscoveryURL, "error", err)
		return found, nil
	}
	k.mu.Lock()
	k.found, k.foundAt = fresh, now
	k.mu.Unlock()
	return fresh, nil
}
