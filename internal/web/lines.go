package web

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"gatehouse/internal/httpd"
)

// HeaderLines are headers that many requests have in common, checked and written out once as they go over the wire. The
// client for targets takes them in place of the request's Header when the request's Body is a HasHeaderLines, because
// http.Request has no field for them. The zero value stands for no headers.
type HeaderLines struct {
	of   http.Header // what was written out
	text []byte
}

// HasHeaderLines is the Body of a request whose Header has been written out before.
type HasHeaderLines interface{ HeaderLines() *HeaderLines }

// NewHeaderLines writes headers out, which must not change from now on. The error says which header cannot be sent.
func NewHeaderLines(h http.Header) (HeaderLines, error) {
	text, err := appendFields(nil, h)
	if err != nil {
		return HeaderLines{}, err
	}
	return HeaderLines{h, slices.Clip(text)}, nil
}

// linesFor returns the lines of a request's headers if they were written out before, else nil. They count only when the
// request still has the very map that they were made of: a RoundTripper in between that changes a header does so in a copy.
func linesFor(req *http.Request) []byte {
	has, ok := req.Body.(HasHeaderLines)
	if !ok {
		return nil
	}
	l := has.HeaderLines()
	if l == nil || reflect.ValueOf(l.of).UnsafePointer() != reflect.ValueOf(req.Header).UnsafePointer() {
		return nil
	}
	return l.text
}

// appendFields appends headers as lines. It checks names and values, so that none of them can smuggle in another line.
func appendFields(dst []byte, h http.Header) ([]byte, error) {
	for name, values := range h {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection":
			continue // appendHTTP writes those that are needed, from the request itself
		}
		if !httpd.ValidName(name) {
			return dst, fmt.Errorf("send a request: %q is no header name", name)
		}
		for _, v := range values {
			if !httpd.ValidValue(v) {
				return dst, fmt.Errorf("send a request: the value of header %s holds a control character", name)
			}
			dst = append(append(dst, name...), ": "...)
			dst = append(append(dst, v...), "\r\n"...)
		}
	}
	return dst, nil
}
