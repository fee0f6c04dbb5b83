package gateway

import (
	"encoding/base64"
	"strconv"
	"strings"

	"gatehouse/internal/mcp"
)

// list answers one of the four list methods: the items of all targets in the endpoint's order, without those that the
// policy hides from this person. A missing scope hides nothing, because the client can step up.
func (rq *request) list(kind mcp.ListKind) error {
	v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
	entries := v.lists[kind]
	from, err := startAfter(rq.m.Params, kind, entries)
	if err != nil {
		return rq.failure(err)
	}
	page := make([]mcp.Item, 0, min(len(entries)-from, rq.g.o.PageSize))
	next := ""
	for i := from; i < len(entries); i++ {
		if !rq.shows(kind, &entries[i]) {
			continue
		}
		if len(page) == rq.g.o.PageSize {
			next = cursor(kind, i, page[len(page)-1].Name)
			break
		}
		page = append(page, entries[i].item)
	}
	if rq.modern {
		return rq.respond(func(dst []byte) []byte {
			list := append(mcp.AppendList(nil, kind, page, next), ',')
			list[len(list)-2] = ','
			return mcp.AppendResult(dst, rq.m.ID, append(rq.g.appendCacheable(list[:len(list)-1], v.ttl()), '}'))
		})
	}
	return rq.respond(func(dst []byte) []byte { return appendListResult(dst, rq.m.ID, kind, page, next) })
}

// appendListResult writes the response around the list, so that a long list is written once.
func appendListResult(dst []byte, id mcp.ID, kind mcp.ListKind, page []mcp.Item, next string) []byte {
	return mcp.AppendResult(dst, id, mcp.AppendList(nil, kind, page, next))
}

func (rq *request) shows(kind mcp.ListKind, e *entry) bool {
	d := rq.decide(e.target, useOf(kind), e.name)
	return d.Allow || d.MissingScopes != nil
}

// useOf is the method by which an item of a list is used.
func useOf(kind mcp.ListKind) string {
	switch kind {
	case mcp.Tools:
		return mcp.MethodToolsCall
	case mcp.Prompts:
		return mcp.MethodPromptsGet
	}
	return mcp.MethodResourcesRead
}

// A cursor names the list, where the next page begins, and the last item that was shown: when the list has changed in
// between, the page after that item is still right.
func cursor(kind mcp.ListKind, next int, last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(kind) + " " + strconv.Itoa(next) + " " + last))
}

// startAfter returns the index at which the page begins that params ask for.
func startAfter(params []byte, kind mcp.ListKind, entries []entry) (int, *mcp.Error) {
	raw, ok := mcp.Lookup(params, "cursor")
	if !ok || string(raw) == "null" {
		return 0, nil
	}
	bad := mcp.Errorf(mcp.CodeInvalidParams, "Invalid cursor")
	text, ok := mcp.DecodeString(raw)
	if !ok {
		return 0, bad
	}
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0, bad
	}
	parts := strings.SplitN(string(plain), " ", 3)
	if len(parts) != 3 || parts[0] != string(kind) {
		return 0, bad
	}
	next, err := strconv.Atoi(parts[1])
	if err != nil || next < 0 {
		return 0, bad
	}
	for i := range entries {
		if entries[i].item.Name == parts[2] {
			return i + 1, nil
		}
	}
	return min(next, len(entries)), nil
}
