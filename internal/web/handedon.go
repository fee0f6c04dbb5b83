package web

import (
	"context"
	"net/http"
	"net/netip"
)

// HandedOn is WithRequestID and WithClientIP for a request that another copy of Gatehouse took and handed on: it goes
// under the same id and comes from the same client.
func HandedOn(r *http.Request, id string, client netip.Addr) *http.Request {
	f := &facts{id: clip(id, 64), client: client}
	f.notes = f.room[:0]
	return r.WithContext(context.WithValue(r.Context(), factsKey{}, f))
}
