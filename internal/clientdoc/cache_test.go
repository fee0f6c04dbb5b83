package clientdoc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/testkit"
)

// site serves documents. Requests go to it whatever their host is, as if it were the whole internet.
type site struct {
	t     *testing.T
	clock *testkit.Clock
	cache *Cache
	log   *bytes.Buffer

	mu      sync.Mutex // guards all below
	answer  http.HandlerFunc
	fetches map[string]int
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, clock: testkit.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)), log: &bytes.Buffer{}, fetches: map[string]int{}}
	s.serve(http.StatusOK, nil, document(t, nil))
	var err error
	s.cache, err = NewCache(Options{Client: &http.Client{Transport: s}, Now: s.clock.Now, Log: slog.New(slog.NewTextHandler(s.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// RoundTrip answers without a network.
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.fetches[r.URL.String()]++
	answer := s.answer
	s.mu.Unlock()
	w := httptest.NewRecorder()
	answer(w, r)
	if w.Code == http.StatusTeapot {
		return nil, errors.New("connection refused")
	}
	res := w.Result()
	res.Request = r
	return res, nil
}

// serve answers everything alike from now on; 418 stands for a host that cannot be reached.
func (s *site) serve(status int, header map[string]string, body []byte) {
	s.handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	})
}

func (s *site) handle(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

func (s *site) count(url string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches[url]
}

func (s *site) want(url string, fetches int) {
	s.t.Helper()
	if got := s.count(url); got != fetches {
		s.t.Errorf("%d fetches of %s, want %d", got, url, fetches)
	}
}

// always permits with what it is.
func always(p Permit) Query {
	return Query{Permit: func(context.Context, bool) (Permit, error) { return p, nil }}
}

func reasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func TestChecklist12_Answers(t *testing.T) {
	t.Parallel()
	good := document(t, nil)
	for name, tt := range map[string]struct {
		status int
		header map[string]string
		body   []byte
		reason Reason
	}{
		"JSON":               {200, nil, good, ""},
		"JSON with charset":  {200, map[string]string{"Content-Type": "application/json; charset=utf-8"}, good, ""},
		"built on JSON":      {200, map[string]string{"Content-Type": "application/oauth-client+json"}, good, ""},
		"HTML":               {200, map[string]string{"Content-Type": "text/html"}, good, Type},
		"text":               {200, map[string]string{"Content-Type": "text/plain"}, good, Type},
		"JSON in its name":   {200, map[string]string{"Content-Type": "text/x+json"}, good, Type},
		"no type":            {200, map[string]string{"Content-Type": ""}, good, Type},
		"redirect":           {302, map[string]string{"Location": "https://other.example/oauth.json"}, good, Status},
		"permanent redirect": {308, map[string]string{"Location": "http://169.254.169.254/latest"}, good, Status},
		"created":            {201, nil, good, Status},
		"not modified":       {304, nil, nil, Status},
		"partial":            {206, nil, good, Status},
		"not found":          {404, nil, good, Status},
		"broken":             {500, nil, good, Status},
		"away":               {http.StatusTeapot, nil, nil, Unreachable},
		"too long":           {200, nil, append(good, bytes.Repeat([]byte(" "), maxDocument)...), TooLarge},
		"another client":     {200, nil, document(t, map[string]any{"client_id": "https://other.example/x"}), Mismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.serve(tt.status, tt.header, tt.body)
			d, err := s.cache.Document(t.Context(), testURL, always(Granted))
			if reasonOf(err) != tt.reason || (err == nil) != (d != nil) {
				t.Errorf("%+v, %v, want reason %q", d, err, tt.reason)
			}
			if len(s.fetches) != 1 {
				t.Errorf("fetched %v", s.fetches)
			}
		})
	}
}

func TestFetchSendsNothingOfOurs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.handle(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Accept") != "application/json" || r.Header.Get("Cookie")+r.Header.Get("Referer")+r.Header.Get("Authorization") != "" {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document(t, nil))
	})
	if _, err := s.cache.Document(t.Context(), testURL, always(Granted)); err != nil {
		t.Error(err)
	}
}

// A server that never stops sending, and one that never begins, are left after 5 s.
func TestChecklist12_SlowAnswers(t *testing.T) {
	t.Parallel()
	for _, begins := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, err := NewCache(Options{Client: &http.Client{Transport: drip(begins)}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = c.Document(t.Context(), testURL, always(Granted))
			if took := time.Since(began); reasonOf(err) != Unreachable || took != fetchTimeout {
				t.Errorf("begins %v: %v after %s", begins, err, took)
			}
		})
	}
}

// drip answers a byte a second, or not at all.
type drip bool

func (begins drip) RoundTrip(r *http.Request) (*http.Response, error) {
	if !begins {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: slowBody{r.Context()}, Request: r}, nil
}

type slowBody struct{ ctx context.Context }

func (b slowBody) Read(p []byte) (int, error) {
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(time.Second):
		return copy(p, " "), nil
	}
}
func (slowBody) Close() error { return nil }

func TestChecklist13_Lifetime(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		header map[string]string
		want   time.Duration
	}{
		"nothing said":       {nil, time.Hour},
		"no-store":           {map[string]string{"Cache-Control": "max-age=3600, No-Store"}, leastFresh},
		"no-cache":           {map[string]string{"Cache-Control": "no-cache"}, leastFresh},
		"private":            {map[string]string{"Cache-Control": "private, max-age=3600"}, leastFresh},
		"a second":           {map[string]string{"Cache-Control": "max-age=1"}, leastFresh},
		"zero":               {map[string]string{"Cache-Control": "max-age=0"}, leastFresh},
		"two hours":          {map[string]string{"Cache-Control": "public, max-age=7200, immutable"}, 2 * time.Hour},
		"quoted":             {map[string]string{"Cache-Control": `max-age="7200"`}, 2 * time.Hour},
		"shared":             {map[string]string{"Cache-Control": "max-age=60, s-maxage=7200"}, 2 * time.Hour},
		"shared first":       {map[string]string{"Cache-Control": "s-maxage=7200, max-age=60"}, 2 * time.Hour},
		"a year":             {map[string]string{"Cache-Control": "max-age=31536000"}, mostFresh},
		"more than fits":     {map[string]string{"Cache-Control": "max-age=99999999999999999999999"}, mostFresh},
		"less than nothing":  {map[string]string{"Cache-Control": "max-age=-1"}, leastFresh},
		"no number":          {map[string]string{"Cache-Control": "max-age=soon"}, leastFresh},
		"aged":               {map[string]string{"Cache-Control": "max-age=7200", "Age": "3600"}, time.Hour},
		"aged out":           {map[string]string{"Cache-Control": "max-age=7200", "Age": "9999999"}, leastFresh},
		"expires":            {map[string]string{"Expires": "Mon, 23 Nov 2026 15:00:00 GMT"}, 3 * time.Hour},
		"expires by a clock": {map[string]string{"Expires": "Mon, 23 Nov 2026 15:00:00 GMT", "Date": "Mon, 23 Nov 2026 13:00:00 GMT"}, 2 * time.Hour},
		"expires long ago":   {map[string]string{"Expires": "0"}, leastFresh},
		"max-age wins":       {map[string]string{"Expires": "0", "Cache-Control": "max-age=7200"}, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.serve(200, tt.header, document(t, nil))
			fetch := func(fetches int) {
				t.Helper()
				if _, err := s.cache.Document(t.Context(), testURL, always(Granted)); err != nil {
					t.Fatal(err)
				}
				s.want(testURL, fetches)
			}
			fetch(1)
			s.clock.Advance(tt.want - time.Second)
			fetch(1)
			s.clock.Advance(time.Second)
			fetch(2)
		})
	}
}

func TestChecklist13_FailuresAreRememberedForAMinute(t *testing.T) {
	t.Parallel()
	for _, status := range []int{404, 500, http.StatusTeapot} {
		s := newSite(t)
		s.serve(status, map[string]string{"Cache-Control": "max-age=86400"}, nil)
		for range 3 {
			if _, err := s.cache.Document(t.Context(), testURL, always(Vouched)); err == nil {
				t.Error("no error")
			}
		}
		s.want(testURL, 1)
		s.serve(200, nil, document(t, nil))
		s.clock.Advance(failedFor - time.Second)
		if _, err := s.cache.Document(t.Context(), testURL, always(Vouched)); err == nil {
			t.Error("the failure was forgotten too soon")
		}
		s.clock.Advance(time.Second)
		if _, err := s.cache.Document(t.Context(), testURL, always(Vouched)); err != nil {
			t.Error(err)
		}
		s.want(testURL, 2)
	}
}

func TestChecklist13_SingleFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newSite(t)
		s.handle(func(w http.ResponseWriter, _ *http.Request) {
			<-release
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(document(t, nil))
		})
		var asked, got atomic.Int64
		query := Query{Permit: func(context.Context, bool) (Permit, error) { asked.Add(1); return Granted, nil }}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := s.cache.Document(t.Context(), testURL, query); err == nil {
					got.Add(1)
				}
			})
		}
		synctest.Wait() // one fetches, the others wait
		impatient, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := s.cache.Document(impatient, testURL, query); !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		wg.Wait()
		if got.Load() != 100 || asked.Load() > 101 {
			t.Errorf("%d got it, %d asked", got.Load(), asked.Load())
		}
		s.want(testURL, 1)
	})
}

// The first of many leaves: the fetch goes on for the others.
func TestFetchOutlivesWhoCausedIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newSite(t)
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
				w.WriteHeader(http.StatusTeapot)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(document(t, nil))
		})
		first, leave := context.WithCancel(t.Context())
		go func() { _, _ = s.cache.Document(first, testURL, always(Granted)) }()
		synctest.Wait()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.cache.Document(t.Context(), testURL, always(Refused)); err != nil {
				t.Errorf("who waited got %v", err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		wg.Wait()
		s.want(testURL, 1)
	})
}

func TestPermits(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	get := func(q Query) error {
		_, err := s.cache.Document(t.Context(), testURL, q)
		return err
	}
	var marked []bool
	asking := func(p Permit) Query {
		return Query{Permit: func(_ context.Context, m bool) (Permit, error) { marked = append(marked, m); return p, nil }}
	}
	if err := get(Query{}); !errors.Is(err, ErrNotFetched) {
		t.Errorf("nobody to ask: %v", err)
	}
	if err := get(asking(Refused)); !errors.Is(err, ErrNotFetched) {
		t.Errorf("refused: %v", err)
	}
	trouble := errors.New("store away")
	if err := get(Query{Permit: func(context.Context, bool) (Permit, error) { return Refused, trouble }}); !errors.Is(err, trouble) {
		t.Errorf("who is asked has trouble: %v", err)
	}
	s.want(testURL, 0)
	for _, p := range []Permit{Granted, Vouched, Granted, Granted} { // once vouched for, it stays marked
		if err := get(asking(p)); err != nil {
			t.Error(err)
		}
		if err := get(asking(Refused)); err != nil {
			t.Errorf("what is fresh needs no permit: %v", err)
		}
		s.clock.Advance(time.Hour)
	}
	s.want(testURL, 4)
	if got := fmt.Sprint(marked); got != "[false false false true true]" {
		t.Errorf("marked %s", got)
	}
	// What is gone is forgotten, mark and all.
	s.serve(404, nil, nil)
	if err := get(asking(Granted)); err == nil {
		t.Error("no error")
	}
	s.clock.Advance(failedFor)
	marked = nil
	if err := get(asking(Refused)); !errors.Is(err, ErrNotFetched) || marked[0] {
		t.Errorf("%v, marked %v", err, marked)
	}
}

func TestStaleDocuments(t *testing.T) {
	t.Parallel()
	stale := Query{Permit: always(Vouched).Permit, Stale: true}
	starved := Query{Permit: always(Refused).Permit, Stale: true}
	for name, tt := range map[string]struct {
		query   Query
		status  int
		after   time.Duration
		arrives bool
	}{
		"away":                      {stale, http.StatusTeapot, 2 * time.Hour, true},
		"broken":                    {stale, 503, 2 * time.Hour, true},
		"overloaded":                {stale, 429, 2 * time.Hour, true},
		"no permit":                 {starved, 200, 2 * time.Hour, true},
		"away for a day":            {stale, http.StatusTeapot, 24 * time.Hour, false},
		"no permit for a day":       {starved, 200, 24 * time.Hour, false},
		"gone":                      {stale, 404, 2 * time.Hour, false},
		"away, and freshness asked": {always(Vouched), http.StatusTeapot, 2 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if _, err := s.cache.Document(t.Context(), testURL, always(Granted)); err != nil {
				t.Fatal(err)
			}
			s.serve(tt.status, nil, document(t, nil))
			s.clock.Advance(tt.after)
			for range 2 { // the second time from the memory of the failure
				if d, err := s.cache.Document(t.Context(), testURL, tt.query); (err == nil) != tt.arrives || (d != nil) != tt.arrives {
					t.Errorf("%v, %v", d, err)
				}
			}
		})
	}
}

func TestKeySets(t *testing.T) {
	t.Parallel()
	const url = "https://client.example/jwks"
	s := newSite(t)
	s.serve(200, map[string]string{"Cache-Control": "max-age=86400"}, []byte(`{"keys":[`+publicKey+`]}`))
	get := func(since time.Duration) (string, error) {
		raw, err := s.cache.KeySet(t.Context(), url, Query{Permit: always(Granted).Permit, Since: s.clock.Now().Add(-since)})
		return string(raw), err
	}
	if raw, err := get(time.Hour); err != nil || !strings.Contains(raw, `"kid":"1"`) {
		t.Errorf("%s, %v", raw, err)
	}
	s.clock.Advance(20 * time.Second)
	_, _ = get(30 * time.Second)
	s.want(url, 1)
	s.clock.Advance(20 * time.Second)
	_, _ = get(30 * time.Second) // too old for who looks for a new key
	s.want(url, 2)
	s.clock.Advance(mostKeys)
	_, _ = get(24 * time.Hour) // and an hour is the longest, whatever the header says
	s.want(url, 3)
	for name, body := range map[string]string{
		"private": `{"keys":[` + privateKey + `]}`, "empty": `{"keys":[]}`, "document": string(document(t, nil)),
		"deep": `{"keys":[` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `]}`, "long": `{"keys":[` + publicKey + strings.Repeat(" ", maxKeySet) + `]}`,
	} {
		s.serve(200, nil, []byte(body))
		if _, err := s.cache.KeySet(t.Context(), "https://client.example/"+name, always(Granted)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.handle(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document(t, map[string]any{"client_id": r.URL.String()}))
	})
	url := func(i int) string { return fmt.Sprintf("https://client.example/%d", i) }
	for i := range maxKept + 1 {
		if _, err := s.cache.Document(t.Context(), url(i), always(Granted)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.cache.Document(t.Context(), url(0), always(Granted)); err != nil { // in use
			t.Fatal(err)
		}
	}
	s.want(url(0), 1)
	_, _ = s.cache.Document(t.Context(), url(maxKept), always(Granted))
	s.want(url(maxKept), 1)
	_, _ = s.cache.Document(t.Context(), url(1), always(Granted))
	s.want(url(1), 2) // forgotten
	// Failures push nothing out.
	s.serve(404, nil, nil)
	for i := range 2 * maxFailed {
		_, _ = s.cache.Document(t.Context(), fmt.Sprintf("https://other.example/%d", i), always(Granted))
	}
	if n := len(s.cache.documents.failed.byKey); n != maxFailed {
		t.Errorf("%d failures are kept", n)
	}
	if _, err := s.cache.Document(t.Context(), url(0), Query{}); err != nil {
		t.Errorf("failures of others pushed a document out: %v", err)
	}
}

func TestTooManyFetchesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newSite(t)
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			<-release
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(document(t, map[string]any{"client_id": r.URL.String()}))
		})
		var wg sync.WaitGroup
		for i := range maxFlights {
			wg.Go(func() {
				if _, err := s.cache.Document(t.Context(), fmt.Sprintf("https://client.example/%d", i), always(Granted)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		_, err := s.cache.Document(t.Context(), testURL, always(Granted))
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != Busy || !e.Temporary() {
			t.Errorf("%v, want busy", err)
		}
		close(release)
		wg.Wait()
		if _, err := s.cache.Document(t.Context(), testURL, always(Granted)); err != nil {
			t.Errorf("being busy was remembered: %v", err)
		}
	})
}

// What a stranger's URL says cannot forge lines of the log, and what the network says stays there.
func TestErrorsAreSafe(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve(http.StatusTeapot, nil, nil)
	_, err := s.cache.Document(t.Context(), testURL, always(Granted))
	e, ok := errors.AsType[*Error](err)
	if !ok || strings.Contains(e.Detail, "refused") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%#v", err)
	}
	if !strings.Contains(s.log.String(), "registration.documents.enabled") {
		t.Errorf("the log says nothing about what to do: %s", s.log)
	}
	if !strings.Contains(s.log.String(), "connection refused") || strings.Count(s.log.String(), "\n") != 1 {
		t.Errorf("log %q", s.log)
	}
}

func TestNewCacheNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := NewCache(Options{Now: time.Now, Log: slog.Default()}); err == nil {
		t.Error("without an HTTP client")
	}
}

func FuzzFreshFor(f *testing.F) {
	f.Add("max-age=60, s-maxage=\"7200\"", "Mon, 23 Nov 2026 15:00:00 GMT", "Mon, 23 Nov 2026 13:00:00 GMT", "10")
	f.Add("no-store", "0", "", "-1")
	f.Add("max-age=99999999999999999999", "", "", "99999999999999999999")
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, control, expires, date, age string) {
		h := http.Header{"Cache-Control": {control}, "Expires": {expires}, "Date": {date}, "Age": {age}}
		if d := freshFor(h, now, leastFresh, mostFresh); d < leastFresh || d > mostFresh {
			t.Errorf("%q is fresh for %s", h, d)
		}
	})
}
