package web

import "net/http"

// Middleware wraps a handler.
type Middleware = func(http.Handler) http.Handler

// Chain wraps h so that the first middleware runs first.
func Chain(h http.Handler, steps ...Middleware) http.Handler {
	for i := len(steps) - 1; i >= 0; i-- {
		h = steps[i](h)
	}
	return h
}

// Route is one pattern of http.ServeMux and what answers it.
type Route struct {
	Pattern string
	Handler http.Handler
}
