package clientdoc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// How long and how much is kept.
const (
	leastFresh = 5 * time.Minute
	mostFresh  = 24 * time.Hour // for documents
	mostKeys   = time.Hour      // for key sets: a key that was withdrawn must not work for longer
	keepStale  = 24 * time.Hour // from the fetch on; for callers that take what is stale
	failedFor  = time.Minute
	maxKeySet  = 64 << 10
	maxKept    = 512 // documents, and as many key sets
	maxFailed  = 1024
	maxFlights = 64 // fetches at once
)

// Options are what a Cache needs. All are required.
type Options struct {
	Client *http.Client // behind a fence that keeps it to public addresses; it need not refuse redirects
	Now    func() time.Time
	Log    *slog.Logger
}

// Cache fetches documents and key sets, and keeps them. It is safe for concurrent use. A fetch runs in the request that
// caused it and does not end with it, because others may wait for the same one.
type Cache struct {
	client *http.Client
	now    func() time.Time
	log    *slog.Logger
	slots  chan struct{} // one for each fetch under way

	documents *shelf[*Document]
	keySets   *shelf[[]byte]
}

// NewCache checks the options; it fetches nothing.
func NewCache(o Options) (*Cache, error) {
	if o.Client == nil || o.Now == nil || o.Log == nil {
		return nil, errors.New("client documents: HTTP client, clock and log are required")
	}
	client := *o.Client
	client.CheckRedirect, client.Jar = keepRedirects, nil
	c := &Cache{client: &client, now: o.Now, log: o.Log, slots: make(chan struct{}, maxFlights)}
	c.documents = newShelf(c, maxDocument, mostFresh, Parse)
	c.keySets = newShelf(c, maxKeySet, mostKeys, func(_ string, raw []byte) ([]byte, error) {
		if tooDeep(raw) {
			return nil, fail(Invalid, "the key set is nested too deep", nil)
		}
		return raw, checkPublic(raw)
	})
	return c, nil
}

// Permit is the answer to a question whether something may be fetched.
type Permit uint8

const (
	// Refused means that nothing may be fetched.
	Refused Permit = iota
	// Granted is for requests about which nothing is known.
	Granted
	// Vouched is for requests behind which a person stands, or a token of ours. What was fetched for one is marked.
	Vouched
)

// Query says for whom something is wanted.
type Query struct {
	// Permit is asked before a fetch, and only then. marked tells that the last fetch of the same URL was vouched for.
	// nil permits none.
	Permit func(ctx context.Context, marked bool) (Permit, error)
	// Stale takes what was fetched in the last 24 h, when there is nothing newer to be had for the moment.
	Stale bool
	// Since asks for something that was fetched no earlier.
	Since time.Time
}

// Document returns the document at a URL for which CheckURL holds. Errors are ErrNotFetched, *Error, that of ctx, and
// whatever the query's Permit returned.
func (c *Cache) Document(ctx context.Context, url string, q Query) (*Document, error) {
	return c.documents.get(ctx, url, q)
}

// KeySet returns the JWK set at a document's KeysURI, which must not be changed. Errors are those of Document.
func (c *Cache) KeySet(ctx context.Context, url string, q Query) ([]byte, error) {
	return c.keySets.get(ctx, url, q)
}

// shelf keeps what was fetched, of one kind.
type shelf[T any] struct {
	cache *Cache
	limit int64
	most  time.Duration
	parse func(url string, raw []byte) (T, error)

	mu      sync.Mutex // guards all below
	kept    *lru[kept[T]]
	failed  *lru[failure]
	flights map[string]chan struct{} // closed when the flight has landed
}

type kept[T any] struct {
	value          T
	fetched, until time.Time
	marked         bool
}

type failure struct {
	err   *Error
	until time.Time
}

func newShelf[T any](c *Cache, limit int64, most time.Duration, parse func(string, []byte) (T, error)) *shelf[T] {
	return &shelf[T]{cache: c, limit: limit, most: most, parse: parse,
		kept: newLRU[kept[T]](maxKept), failed: newLRU[failure](maxFailed), flights: map[string]chan struct{}{}}
}

// found is what there is about a URL at one moment.
type found[T any] struct {
	kept[T]
	fresh, stale bool
	failed       *Error        // a fetch that failed a moment ago
	landed       chan struct{} // of a fetch under way
}

func (s *shelf[T]) look(url string, q Query) (f found[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cache.now()
	k, have := s.kept.get(url)
	f.kept = k
	f.fresh = have && now.Before(k.until) && !k.fetched.Before(q.Since)
	f.stale = have && q.Stale && now.Before(k.fetched.Add(keepStale))
	if lately, ok := s.failed.get(url); ok && now.Before(lately.until) {
		f.failed = lately.err
	}
	f.landed = s.flights[url]
	return f
}

func (s *shelf[T]) get(ctx context.Context, url string, q Query) (T, error) {
	var none T
	for {
		f := s.look(url, q)
		switch {
		case f.fresh, f.failed != nil && f.stale && f.failed.passing:
			return f.value, nil
		case f.failed != nil:
			return none, f.failed
		case f.landed == nil:
			permit, err := q.permit(ctx, f.marked)
			if err != nil {
				return none, err
			}
			if permit == Refused {
				err = ErrNotFetched
			} else {
				err = s.fetch(ctx, url, permit == Vouched)
			}
			switch {
			case err != nil && f.stale:
				return f.value, nil
			case err != nil:
				return none, err
			}
			continue
		}
		select {
		case <-f.landed:
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
}

func (q Query) permit(ctx context.Context, marked bool) (Permit, error) {
	if q.Permit == nil {
		return Refused, nil
	}
	return q.Permit(ctx, marked)
}

// fetch fetches unless somebody else has begun to. The outcome is then on the shelf; an error is returned only when
// nothing was tried.
func (s *shelf[T]) fetch(ctx context.Context, url string, mark bool) error {
	s.mu.Lock()
	if s.flights[url] != nil {
		s.mu.Unlock()
		return nil
	}
	select {
	case s.cache.slots <- struct{}{}:
	default:
		s.mu.Unlock()
		return passing(Busy, "too many documents are being fetched at the moment", nil)
	}
	landed := make(chan struct{})
	s.flights[url] = landed
	s.mu.Unlock()

	failed := passing(Unreachable, "the fetch broke off", nil) // unless it comes to an end
	var next kept[T]
	defer func() {
		s.mu.Lock()
		s.land(url, next, mark, failed)
		s.mu.Unlock()
		<-s.cache.slots
		close(landed)
	}()
	next, failed = s.read(context.WithoutCancel(ctx), url)
	return nil
}

// read makes one attempt.
func (s *shelf[T]) read(ctx context.Context, url string) (kept[T], *Error) {
	c := s.cache
	began := c.now()
	raw, header, err := c.fetch(ctx, url, s.limit)
	var value T
	if err == nil {
		value, err = s.parse(url, raw)
	}
	if err != nil {
		c.log.WarnContext(ctx, "client document not fetched", "url", url, "error", err, "hint", hintFor(err))
		if e, ok := errors.AsType[*Error](err); ok {
			return kept[T]{}, e
		}
		return kept[T]{}, fail(Invalid, "it cannot be read", err)
	}
	until := c.now().Add(freshFor(header, c.now(), leastFresh, s.most))
	c.log.InfoContext(ctx, "client document fetched", "url", url, "until", until)
	return kept[T]{value: value, fetched: began, until: until}, nil
}

// hintFor says what an operator can do about a host that cannot be reached at all.
func hintFor(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Reason == Unreachable {
		return "documents are fetched directly, from public addresses; where this server has no such way out, set registration.documents.enabled: false, and clients register themselves"
	}
	return "the document is the client's; it has to be put right there"
}

// land puts the outcome on the shelf; mu is held. What is no longer there, or no longer valid, is not kept either.
func (s *shelf[T]) land(url string, next kept[T], mark bool, failed *Error) {
	delete(s.flights, url)
	if failed != nil {
		s.failed.put(url, failure{failed, s.cache.now().Add(failedFor)})
		if !failed.passing {
			s.kept.remove(url)
		}
		return
	}
	s.failed.remove(url)
	old, had := s.kept.get(url)
	next.marked = mark || had && old.marked
	s.kept.put(url, next)
}
