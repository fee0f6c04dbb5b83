package gateway

import (
	"net/http"
	"strings"
)

// accepted says in which forms the client takes an answer.
type accepted struct{ json, events bool }

// parseAccept reads Accept leniently: a client that names nothing takes everything, and weights do not matter.
func parseAccept(h http.Header) accepted {
	values := h["Accept"]
	if len(values) == 0 || len(values) == 1 && values[0] == "application/json, text/event-stream" { // which nearly all write
		return accepted{true, true}
	}
	var a accepted
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			kind, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "*/*":
				return accepted{true, true}
			case "application/json", "application/*":
				a.json = true
			case "text/event-stream", "text/*":
				a.events = true
			}
		}
	}
	return a
}
