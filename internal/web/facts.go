package web

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
)

// facts is what is known about one request; WithRequestID puts it into the context, and the steps after it fill it.
type facts struct {
	id     string
	client netip.Addr // set by WithClientIP before any other goroutine can see the request

	mu    sync.Mutex // guards all below
	notes []slog.Attr
	quiet bool
}

type factsKey struct{}

func factsOf(ctx context.Context) *facts {
	f, _ := ctx.Value(factsKey{}).(*facts)
	return f
}

// Note adds a field to the one log record of the request that ctx belongs to. A later value replaces an earlier one.
// Values must be safe to log: no token, code, cookie, password or argument.
func Note(ctx context.Context, key string, value any) {
	f := factsOf(ctx)
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.notes {
		if f.notes[i].Key == key {
			f.notes[i].Value = slog.AnyValue(value)
			return
		}
	}
	f.notes = append(f.notes, slog.Any(key, value))
}

// hush lowers the request's log record to debug level, for probes that come every few seconds.
func hush(ctx context.Context) {
	if f := factsOf(ctx); f != nil {
		f.mu.Lock()
		f.quiet = true
		f.mu.Unlock()
	}
}
