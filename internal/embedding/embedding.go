// Package embedding turns texts into vectors, by an endpoint that speaks the embeddings API of OpenAI, as many servers
// and services do. It asks for many texts at once, remembers what it got by what it asked, and gives up for a while when
// the endpoint fails, because whoever asks can do without.
//
// It does not know what the texts are, nor what is done with the vectors.
//
// Source: OpenAI API reference, "Create embeddings".
package embedding

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/secret"
)

// Options are what a client is made of. URL, Model and Client are required.
type Options struct {
	URL        string      // of the API, such as https://api.openai.com/v1, or of its embeddings endpoint
	Key        secret.Text // sent as a bearer token; may be empty
	Model      string
	Dimensions int // of the vectors; 0 leaves it to the model

	Client *http.Client
	Log    *slog.Logger     // default: none
	Now    func() time.Time // default: time.Now

	QueryTimeout time.Duration // default 500 ms
	BatchTimeout time.Duration // for one request with many texts; default 30 s
	Batch        int           // texts in one request; default 64
	Cached       int           // vectors remembered; default 20,000
}

// Client asks for vectors. It is safe for concurrent use.
type Client struct {
	o     Options
	url   string
	cache *cache
	busy  chan struct{} // holds one token for each request on its way

	mu    sync.Mutex // guards what follows
	rest  time.Time  // nothing is asked before
	fails int        // in a row
}

// DefaultBatchTimeout is how long one request with many texts may take.
const DefaultBatchTimeout = 30 * time.Second

// ErrResting means that the endpoint failed a moment ago, and is not asked now.
var ErrResting = errors.New("the embeddings endpoint failed a moment ago")

// Bounds.
const (
	maxAtOnce  = 8        // requests on their way
	maxAnswer  = 64 << 20 // bytes
	maxNumbers = 1 << 14  // of one vector
	shortRest  = 5 * time.Second
	longRest   = 5 * time.Minute
)

// New checks the options and makes a client. Nothing is asked yet.
func New(o Options) (*Client, error) {
	switch {
	case o.URL == "" || o.Model == "" || o.Client == nil:
		return nil, errors.New("embeddings: URL, model and client are required")
	case o.Dimensions < 0 || o.Dimensions > maxNumbers:
		return nil, fmt.Errorf("embeddings: %d dimensions; give at most %d, or none", o.Dimensions, maxNumbers)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.QueryTimeout = cmp.Or(o.QueryTimeout, 500*time.Millisecond)
	o.BatchTimeout = cmp.Or(o.BatchTimeout, DefaultBatchTimeout)
	o.Batch = cmp.Or(o.Batch, 64)
	o.Cached = cmp.Or(o.Cached, 20_000)
	c := &Client{o: o, url: strings.TrimSuffix(o.URL, "/"), cache: newCache(o.Cached), busy: make(chan struct{}, maxAtOnce)}
	if !strings.HasSuffix(c.url, "/embeddings") {
		c.url += "/embeddings"
	}
	return c, nil
}

// Query returns the vector of one text, within QueryTimeout.
func (c *Client) Query(ctx context.Context, text string) ([]float32, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.QueryTimeout)
	defer cancel()
	all, err := c.vectors(ctx, []string{text})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// Texts returns the vectors of texts, in their order, asking for those that it does not remember.
func (c *Client) Texts(ctx context.Context, texts []string) ([][]float32, error) {
	all := make([][]float32, 0, len(texts))
	for len(texts) > 0 {
		n := min(len(texts), c.o.Batch)
		some, err := func() ([][]float32, error) {
			ctx, cancel := context.WithTimeout(ctx, c.o.BatchTimeout)
			defer cancel()
			return c.vectors(ctx, texts[:n])
		}()
		if err != nil {
			return nil, err
		}
		all, texts = append(all, some...), texts[n:]
	}
	for _, v := range all {
		if len(v) != len(all[0]) {
			return nil, fmt.Errorf("embeddings: vectors of %d and %d numbers; has the model changed?", len(all[0]), len(v))
		}
	}
	return all, nil
}

func (c *Client) vectors(ctx context.Context, texts []string) ([][]float32, error) {
	all := make([][]float32, len(texts))
	var missing []string
	var at []int
	for i, text := range texts {
		if all[i] = c.cache.get(c.key(text)); all[i] == nil {
			missing, at = append(missing, text), append(at, i)
		}
	}
	if len(missing) == 0 {
		return all, nil
	}
	if c.resting() {
		return nil, ErrResting
	}
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-ctx.Done():
		return nil, fmt.Errorf("embeddings: wait for other requests: %w", ctx.Err())
	}
	got, err := c.ask(ctx, missing)
	c.noteOutcome(ctx, err)
	if err != nil {
		return nil, err
	}
	for i, v := range got {
		all[at[i]] = v
		c.cache.put(c.key(missing[i]), v)
	}
	return all, nil
}

// key stands for a text and what is asked about it.
func (c *Client) key(text string) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %d %s", c.o.Model, c.o.Dimensions, text))
}

func (c *Client) resting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.o.Now().Before(c.rest)
}

// noteOutcome has the endpoint rest after a failure, longer each time, and says so once.
func (c *Client) noteOutcome(ctx context.Context, err error) {
	if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return // whoever asked gave up
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.rest = c.o.Now().Add(min(shortRest<<min(c.fails, 10), longRest))
		if c.fails++; c.fails == 1 {
			c.o.Log.Warn("embeddings are not available; tools are searched by words alone", "error", err)
		}
	case c.fails > 0:
		c.fails = 0
		c.o.Log.Info("embeddings are available again")
	}
}

// ask sends one request. Errors repeat nothing of what the endpoint said, because it may repeat what was asked.
func (c *Client) ask(ctx context.Context, texts []string) ([][]float32, error) {
	body, err := json.Marshal(struct {
		Model      string   `json:"model"`
		Input      []string `json:"input"`
		Format     string   `json:"encoding_format"`
		Dimensions int      `json:"dimensions,omitempty"`
	}{c.o.Model, texts, "float", c.o.Dimensions})
	if err != nil {
		return nil, fmt.Errorf("embeddings: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("embeddings: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if !c.o.Key.IsZero() {
		r.Header.Set("Authorization", "Bearer "+c.o.Key.Reveal())
	}
	resp, err := c.o.Client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("embeddings: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		return nil, fmt.Errorf("embeddings: %s answered with HTTP status %d; check url, model and api_key", c.url, resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("embeddings: read the answer: %w", err)
	case len(raw) > maxAnswer:
		return nil, fmt.Errorf("embeddings: the answer has more than %d bytes", maxAnswer)
	}
	return parse(raw, len(texts), c.o.Dimensions)
}

// parse reads an answer to a request for n texts.
func parse(raw []byte, n, dimensions int) ([][]float32, error) {
	var answer struct {
		Data []struct {
			Index     int       `json:"index"`
			Embedding []float32 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, errors.New("embeddings: the answer is not what the API says")
	}
	if len(answer.Data) != n {
		return nil, fmt.Errorf("embeddings: %d vectors for %d texts", len(answer.Data), n)
	}
	all := make([][]float32, n)
	for _, d := range answer.Data {
		switch {
		case d.Index < 0 || d.Index >= n || all[d.Index] != nil:
			return nil, errors.New("embeddings: the answer numbers its vectors wrongly")
		case len(d.Embedding) == 0 || len(d.Embedding) > maxNumbers || dimensions > 0 && len(d.Embedding) != dimensions:
			return nil, fmt.Errorf("embeddings: a vector of %d numbers", len(d.Embedding))
		}
		for _, f := range d.Embedding {
			if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
				return nil, errors.New("embeddings: a vector holds what is no number")
			}
		}
		all[d.Index] = d.Embedding
	}
	return all, nil
}
