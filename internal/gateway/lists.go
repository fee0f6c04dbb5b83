package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"

	"gatehouse/internal/mcp"
)

// list is what an endpoint shows of one kind, written once for everybody when the view is made: no person's rights go into
// it, and a page is a part of the written bytes. Whether somebody sees them the policy is asked each time.
type list struct {
	entries []entry
	hidden  int // of entries, at their end: they can be called, but the list does not show them
	digest  []byte
	now     written
	older   written // for clients of the session era
}

// written are items one behind the other, each with a comma behind it.
type written struct {
	text []byte
	at   []int // where each begins in text; and one more, the end
}

func (l *list) shown() []entry { return l.entries[:len(l.entries)-l.hidden] }

// write ends the making of a list.
func (l *list) write(kind mcp.ListKind) {
	l.digest = digest(kind, l.entries)
	shown := l.shown()
	l.now = newWritten(shown, true)
	for i := range shown { // what they were copied from need not be kept
		shown[i].item.Raw = l.now.items(i, i+1)
	}
	l.older = l.now
	if slices.ContainsFunc(shown, func(e entry) bool { return e.older != nil }) {
		l.older = newWritten(shown, false)
	}
}

func newWritten(entries []entry, modern bool) written {
	size := 0
	for i := range entries {
		size += len(entries[i].as(modern).Raw) + 1
	}
	w := written{make([]byte, 0, size), make([]int, 1, len(entries)+1)}
	for i := range entries {
		w.text = append(append(w.text, entries[i].as(modern).Raw...), ',')
		w.at = append(w.at, len(w.text))
	}
	return w
}

// items returns some of them, as they stand in an array. They alias the text.
func (w *written) items(from, to int) []byte {
	if from == to {
		return nil
	}
	end := w.at[to] - 1
	return w.text[w.at[from]:end:end]
}

// list answers one of the four list methods: the items of all targets in the endpoint's order, for whoever the policy
// shows them to.
func (rq *request) list(kind mcp.ListKind) error {
	v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
	for _, t := range rq.ep.Targets {
		t.Touch()
	}
	l := v.lists[kind]
	from, err := l.begin(rq.m.Params)
	if err != nil {
		return rq.failure(err)
	}
	to := from
	if rq.sees() {
		to = min(from+rq.g.o.PageSize, len(l.shown()))
	}
	items := l.older.items(from, to)
	if rq.modern {
		items = l.now.items(from, to)
	}
	buf := rq.g.bodies.get()
	defer rq.giveBack(buf)
	*buf = append(append(append(mcp.AppendResultHead(*buf, rq.m.ID), `{"`...), kind...), `":[`...)
	before := len(*buf)
	*buf = append(*buf, ']')
	if from < to && to < len(l.shown()) {
		*buf = mcp.AppendString(append(*buf, `,"nextCursor":`...), l.cursor(to))
	}
	if rq.modern {
		*buf = rq.g.appendCacheable(append(*buf, ','), v.ttl)
	}
	*buf = append(*buf, "}}"...)
	head, tail := (*buf)[:before], (*buf)[before:]
	if rq.to == nil && rq.accept.json {
		return rq.writeParts(http.StatusOK, head, items, tail)
	}
	return rq.respond(func(dst []byte) []byte { return append(append(append(dst, head...), items...), tail...) })
}

// A cursor says where in a list the next page begins, and in which list: the digest is one of its names. When they have
// changed since, pages would not fit together, and the client has to begin anew. It holds on every copy of Gatehouse.
func (l *list) cursor(next int) string {
	b := append([]byte(nil), l.digest...)
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint(b, uint64(next)))
}

const digestSize = 8

func digest(kind mcp.ListKind, entries []entry) []byte {
	h := sha256.New()
	h.Write([]byte(kind))
	for i := range entries {
		h.Write([]byte{0})
		h.Write([]byte(entries[i].item.Name))
	}
	return h.Sum(nil)[:digestSize]
}

// begin returns the index at which the page begins that params ask for.
func (l *list) begin(params []byte) (int, *mcp.Error) {
	raw, ok := mcp.Lookup(params, "cursor")
	if !ok || string(raw) == "null" {
		return 0, nil
	}
	bad := mcp.Errorf(mcp.CodeInvalidParams, "Invalid cursor")
	text, ok := mcp.DecodeString(raw)
	if !ok {
		return 0, bad
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(plain) <= digestSize {
		return 0, bad
	}
	next, n := binary.Uvarint(plain[digestSize:])
	switch {
	case n != len(plain)-digestSize || next > uint64(len(l.shown())):
		return 0, bad
	case !bytes.Equal(plain[:digestSize], l.digest):
		return 0, mcp.Errorf(mcp.CodeInvalidParams, "Invalid cursor: the list has changed since; begin with its first page")
	}
	return int(next), nil
}
