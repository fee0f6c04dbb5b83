package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"gatehouse/internal/mcp"
)

// list answers one of the four list methods: the items of all targets in the endpoint's order, without those that the
// policy hides from this person. A missing scope hides nothing, because the client can step up.
func (rq *request) list(kind mcp.ListKind) error {
	v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
	for _, t := range rq.ep.Targets {
		t.Touch()
	}
	entries := v.lists[kind]
	from, err := v.begin(rq.m.Params, kind)
	if err != nil {
		return rq.failure(err)
	}
	page := make([]mcp.Item, 0, min(len(entries)-from, rq.g.o.PageSize))
	next := ""
	for i := from; i < len(entries); i++ {
		if entries[i].unlisted || !rq.shows(kind, &entries[i]) {
			continue
		}
		if len(page) == rq.g.o.PageSize {
			next = v.cursor(kind, i)
			break
		}
		if rq.modern {
			page = append(page, entries[i].item)
		} else {
			page = append(page, entries[i].older)
		}
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
	d := rq.decide(useOf(kind), e.target, e.name, e.alias)
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

// A cursor says where in a list the next page begins, and in which list: the digest is one of its names. When they have
// changed since, pages would not fit together, and the client has to begin anew. It holds on every copy of Gatehouse.
func (v *view) cursor(kind mcp.ListKind, next int) string {
	b := append([]byte(nil), v.digest(kind)...)
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint(b, uint64(next)))
}

const digestSize = 8

func (v *view) digest(kind mcp.ListKind) []byte {
	h := sha256.New()
	h.Write([]byte(kind))
	for i := range v.lists[kind] {
		h.Write([]byte{0})
		h.Write([]byte(v.lists[kind][i].item.Name))
	}
	return h.Sum(nil)[:digestSize]
}

// begin returns the index at which the page begins that params ask for.
func (v *view) begin(params []byte, kind mcp.ListKind) (int, *mcp.Error) {
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
	case n != len(plain)-digestSize || next > uint64(len(v.lists[kind])):
		return 0, bad
	case !bytes.Equal(plain[:digestSize], v.digest(kind)):
		return 0, mcp.Errorf(mcp.CodeInvalidParams, "Invalid cursor: the list has changed since; begin with its first page")
	}
	return int(next), nil
}
