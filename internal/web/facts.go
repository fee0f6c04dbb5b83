package web

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/callctx"
)

// facts is what is known about one request. WithRequestID puts it into the request's context; the middleware after it and the
// handlers add to it, and Record logs it. It also has room for what the middleware needs for each request, so that all of it
// is one allocation.
type facts struct {
	id     string
	header [1]string   // the value of the answer's X-Request-Id
	client netip.Addr  // set by WithClientIP before any other goroutine can see the request
	rec    recorder    // room for Record
	body   boundedBody // room for LimitBody

	mu       sync.Mutex // guards all below
	notes    []slog.Attr
	room     [8]slog.Attr // for the first notes
	quiet    bool         // see hush
	recorded bool         // see Recorded
}

type factsKey struct{}

func factsOf(ctx context.Context) *facts {
	if c, ok := ctx.(*callctx.Context); ok {
		if f, ok := c.Kept().(*facts); ok {
			return f
		}
	}
	f, _ := ctx.Value(factsKey{}).(*facts)
	return f
}

// Note adds a field to the one log record of the request that ctx belongs to. A later value replaces an earlier one.
// Values must be safe to log: no token, code, cookie, password or argument.
func Note(ctx context.Context, key string, value any) { NotesOf(ctx).Add(key, value) }

func (f *facts) note(a slog.Attr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.notes {
		if f.notes[i].Key == a.Key {
			f.notes[i].Value = a.Value
			return
		}
	}
	f.notes = append(f.notes, a)
}

// Aside returns a context for work that outlasts its request. What is noted on that context, and what was noted on the
// request until now, goes into a log record of its own, with the same request id; write logs it.
func Aside(ctx context.Context, log *slog.Logger) (aside context.Context, write func()) {
	began := time.Now()
	own := &facts{}
	if f := factsOf(ctx); f != nil {
		own.id, own.client = f.id, f.client
		f.mu.Lock()
		own.notes = slices.Clone(f.notes)
		f.mu.Unlock()
	}
	aside = context.WithValue(context.WithoutCancel(ctx), factsKey{}, own)
	return aside, func() {
		own.mu.Lock()
		defer own.mu.Unlock()
		took := slog.Float64("duration_ms", float64(time.Since(began).Microseconds())/1000)
		log.LogAttrs(aside, slog.LevelInfo, "request went on", append([]slog.Attr{took}, own.notes...)...)
	}
}

// Notes are those on one request, for somebody who makes many: looking the request up takes longer than noting something on
// it. The zero value forgets them.
type Notes struct{ f *facts }

// NotesOf finds the notes on the request that ctx belongs to.
func NotesOf(ctx context.Context) Notes { return Notes{factsOf(ctx)} }

// Add is Note for these notes.
func (n Notes) Add(key string, value any) {
	if n.f != nil {
		n.f.note(slog.Any(key, value))
	}
}

// Text is Add for texts, without an allocation.
func (n Notes) Text(key, value string) {
	if n.f != nil {
		n.f.note(slog.String(key, value))
	}
}

// Recorded lowers the log record of the request to debug level, unless the request fails: the same is on the audit record,
// under the same request id.
func (n Notes) Recorded() {
	if n.f != nil {
		n.f.mu.Lock()
		n.f.recorded = true
		n.f.mu.Unlock()
	}
}

// hush lowers the request's log record to debug level, for probes that come every few seconds.
func hush(ctx context.Context) {
	if f := factsOf(ctx); f != nil {
		f.mu.Lock()
		f.quiet = true
		f.mu.Unlock()
	}
}
