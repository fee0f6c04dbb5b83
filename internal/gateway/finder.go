package gateway

import (
	"context"
	"sync"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/toolsearch"
)

// finder holds the index of an endpoint's tools. It is made off the requests' path, by Index, from a view.
type finder struct {
	mu    sync.Mutex // guards what follows
	index *found
	ready chan struct{} // closed when there is one
}

// found is an index with what it was made from. It is never changed.
type found struct {
	view    *view
	index   *toolsearch.Index
	entries []entry // in the order of the index's tools
	vectors bool
}

func newFinder() *finder { return &finder{ready: make(chan struct{})} }

func (f *finder) latest() *found {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index
}

func (f *finder) put(x *found) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.index == nil {
		close(f.ready)
	}
	f.index = x
}

// wait returns the index; while there is none yet it waits for it, but not long, and returns nil.
func (f *finder) wait(ctx context.Context, long time.Duration) *found {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-f.ready:
	case <-timer.C:
	case <-ctx.Done():
	}
	return f.latest()
}

// When an index has to be looked at again without news.
const (
	pendingAgain = 2 * time.Second  // some target has not been reached yet
	vectorsAgain = 30 * time.Second // there are no vectors yet
)

// reindex makes a new index when the view has changed, or when vectors are missing. It returns when to come back, 0 when
// there is news first.
func (e *endpoint) reindex(ctx context.Context, wait time.Duration) (again time.Duration) {
	v := e.fresh(ctx, wait)
	x := e.finder.latest()
	if x == nil || x.view != v && !sameTools(x.view, v) {
		x = newFound(v)
		if e.Search.Vectors == nil || e.finder.latest() == nil {
			e.finder.put(x) // at once; with vectors a little later
		}
	}
	if e.Search.Vectors != nil && !x.vectors {
		with, err := x.withVectors(ctx, e.Search.Vectors)
		if err != nil {
			again = vectorsAgain // the embedder has logged why
		} else {
			x = with
		}
		e.finder.put(x)
	}
	if v.pending {
		again = pendingAgain
	}
	return again
}

// sameTools reports whether two views have the same tools.
func sameTools(a, b *view) bool {
	one, two := a.lists[mcp.Tools].entries, b.lists[mcp.Tools].entries
	if len(one) != len(two) {
		return false
	}
	for i := range one {
		if one[i].target != two[i].target || string(one[i].item.Raw) != string(two[i].item.Raw) {
			return false
		}
	}
	return true
}

func newFound(v *view) *found {
	x := &found{view: v}
	var tools []toolsearch.Tool
	for _, e := range v.lists[mcp.Tools].entries {
		if e.target == "" {
			continue // our own
		}
		t := toolsearch.Parse(e.item.Raw)
		t.Name, t.Server = e.name, e.target
		if c := v.known[e.target]; c != nil {
			t.About = c.Instructions
		}
		tools, x.entries = append(tools, t), append(x.entries, e)
	}
	x.index = toolsearch.New(tools)
	return x
}

// withVectors returns the same index with a vector for each tool.
func (x *found) withVectors(ctx context.Context, embedder Embedder) (*found, error) {
	tools := x.index.Tools()
	texts := make([]string, len(tools))
	for i := range tools {
		texts[i] = tools[i].Text()
	}
	vectors, err := embedder.Texts(ctx, texts)
	if err != nil {
		return nil, err
	}
	index, err := x.index.WithVectors(vectors)
	if err != nil {
		return nil, err
	}
	return &found{view: x.view, index: index, entries: x.entries, vectors: true}, nil
}
