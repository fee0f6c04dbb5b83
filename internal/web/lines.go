package web

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"gatehouse/internal/httpd"
)

// HeaderLines are headers that many requests have in common, checked and written out once. A request's body that has
// them (HasHeaderLines) spares a client for targets looking at the same headers again. The zero value stands for no headers.
type HeaderLines struct {
	of   http.Header
	text []byte
}

// HasHeaderLines is the body of a request with headers that have been written out.
type HasHeaderLines interface{ HeaderLines() *HeaderLines }

// NewHeaderLines writes headers out, which must not change from now on. The error says which header cannot be sent.
func NewHeaderLines(h http.Header) (HeaderLines, error) {
	text, err := appendFields(nil, h)
	if err != nil {
		return HeaderLines{}, err
	}
	return HeaderLines{h, slices.Clip(text)}, nil
}

// linesFor returns what stands for the headers of a request, nil when they have to be looked at: whoever stood between
// and changed one has made a copy.
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

// appendFields writes headers. Names and values are checked: nothing that they hold may begin another header.
func appendFields(dst []byte, h http.Header) ([]byte, error) {
	for name, values := range h {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection":
			continue // said by what they are and not by what somebody wrote
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
