package embedding

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/secret"
)

// api is a small server that speaks the embeddings API: a text's vector is its length and how many e it has.
type api struct {
	*httptest.Server
	asked atomic.Int32
	texts atomic.Int32
	do    atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // may answer in its place

	mu   sync.Mutex // guards last
	last string     // path, authorization and body but for its input
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	if do := a.do.Load(); do != nil && (*do)(w, r) {
		return
	}
	var q struct {
		Model      string
		Input      []string
		Format     string `json:"encoding_format"`
		Dimensions *int
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.texts.Add(int32(len(q.Input)))
	a.mu.Lock()
	a.last = fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Header.Get("Authorization"), " ", q.Model, " ", q.Format, " ", q.Dimensions == nil)
	a.mu.Unlock()
	var data []string
	for i := len(q.Input) - 1; i >= 0; i-- { // in an order of its own
		data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%d,%d]}`, i, len(q.Input[i]), strings.Count(q.Input[i], "e")))
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"object":"list","data":[%s],"model":"m","usage":{"total_tokens":1}}`, strings.Join(data, ","))
}

func (a *api) client(t *testing.T, change func(*Options)) *Client {
	t.Helper()
	o := Options{URL: a.URL + "/v1/", Key: secret.New("sesame"), Model: "m", Client: a.Server.Client(), Batch: 3, QueryTimeout: 20 * time.Second}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVectorsComeInOrderAndInBatches(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	c := a.client(t, nil)
	texts := []string{"one", "three", "seventeen", "", "e", "ee", "eeee"}
	got, err := c.Texts(t.Context(), texts)
	if want := "[[3 1] [5 2] [9 4] [0 0] [1 1] [2 2] [4 4]]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v %v, want %s", got, err, want)
	}
	if n := a.asked.Load(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	if want := "POST /v1/embeddings Bearer sesame m float true"; a.last != want {
		t.Errorf("asked: %s, want %s", a.last, want)
	}
	if _, err := c.Texts(t.Context(), append(texts, "new")); err != nil || a.texts.Load() != 8 {
		t.Errorf("%d texts were sent, want each once (%v)", a.texts.Load(), err)
	}
	if v, err := c.Query(t.Context(), "three"); err != nil || fmt.Sprint(v) != "[5 2]" || a.texts.Load() != 8 {
		t.Errorf("%v %v", v, err)
	}
	if got, err := c.Texts(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("no texts: %v %v", got, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	c := a.client(t, func(o *Options) { o.Cached, o.Key, o.URL = 2, secret.Text{}, o.URL+"embeddings" })
	for _, text := range []string{"a", "b", "a", "c", "a", "b"} {
		if _, err := c.Query(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.texts.Load(); n != 4 { // b had to go for c
		t.Errorf("%d texts were sent, want 4", n)
	}
	if len(c.cache.byKey) != 2 || c.cache.order.Len() != 2 {
		t.Errorf("%d and %d are kept", len(c.cache.byKey), c.cache.order.Len())
	}
	if want := "POST /v1/embeddings  m float true"; a.last != want {
		t.Errorf("without a key: %s", a.last)
	}
}

// After a failure the endpoint rests, longer each time; it is said once when that begins and once when it ends, and
// neither the key nor what was asked is in it.
func TestFailures(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	var log bytes.Buffer
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := a.client(t, func(o *Options) {
		o.Log, o.Now = slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now }
	})
	fail := func(w http.ResponseWriter, r *http.Request) bool {
		http.Error(w, "bad key sesame for: where is my secret plan", http.StatusUnauthorized)
		return true
	}
	a.do.Store(&fail)
	ask := func() error {
		_, err := c.Query(t.Context(), "where is my secret plan")
		return err
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "HTTP status 401") {
		t.Errorf("%v", err)
	}
	for range 3 {
		if err := ask(); !errors.Is(err, ErrResting) {
			t.Errorf("%v", err)
		}
	}
	now = now.Add(shortRest)
	if err := ask(); err == nil || errors.Is(err, ErrResting) {
		t.Errorf("after a rest: %v", err)
	}
	now = now.Add(shortRest)
	if err := ask(); !errors.Is(err, ErrResting) {
		t.Errorf("the second rest is no longer: %v", err)
	}
	a.do.Store(nil)
	now = now.Add(shortRest)
	if err := ask(); err != nil {
		t.Error(err)
	}
	text := log.String()
	if strings.Count(text, "by words alone") != 1 || strings.Count(text, "available again") != 1 {
		t.Errorf("log: %s", text)
	}
	if strings.Contains(text, "sesame") || strings.Contains(text, "secret plan") {
		t.Errorf("the log holds what it must not: %s", text)
	}
	if n := a.asked.Load(); n != 3 {
		t.Errorf("%d requests", n)
	}
}

func TestSlowEndpoint(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	hang := func(_ http.ResponseWriter, r *http.Request) bool {
		buf := make([]byte, 1)
		for { // read to the end, or its closing is not noticed
			if _, err := r.Body.Read(buf); err != nil {
				break
			}
		}
		<-r.Context().Done()
		return true
	}
	a.do.Store(&hang)
	c := a.client(t, func(o *Options) { o.QueryTimeout = 30 * time.Millisecond })
	if _, err := c.Query(t.Context(), "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := c.Query(t.Context(), "x"); !errors.Is(err, ErrResting) {
		t.Errorf("right after: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	d := a.client(t, nil)
	if _, err := d.Query(gone, "x"); err == nil {
		t.Error("whoever asks has gone")
	}
	if d.resting() {
		t.Error("who gives up has the endpoint rest")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		``, `{}`, `{"data":[]}`, `[]`, `{"data":[{"index":0,"embedding":[1]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":-1,"embedding":[1]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1e99]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":"AAAA"}]}`,
	} {
		if got, err := parse([]byte(raw), 2, 0); err == nil {
			t.Errorf("%s is %v", raw, got)
		}
	}
	good := []byte(`{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[3,4]}]}`)
	if _, err := parse(good, 2, 2); err != nil {
		t.Error(err)
	}
	if _, err := parse(good, 2, 3); err == nil {
		t.Error("other dimensions than asked for")
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {URL: "https://x", Model: "m"}, {URL: "https://x", Client: http.DefaultClient}, {URL: "https://x", Model: "m", Client: http.DefaultClient, Dimensions: 1 << 20}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v", o)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[3,4]}]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		all, err := parse([]byte(raw), 2, 0)
		if err == nil && (len(all) != 2 || len(all[0]) == 0 || len(all[1]) == 0) {
			t.Errorf("%v", all)
		}
	})
}
