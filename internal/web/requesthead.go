package web

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"

	"golang.org/x/net/http/httpguts"

	"gatehouse/internal/httpd"
)

// RequestHead is the head of many requests that differ in their bodies alone: request line, Host and headers, checked and
// written out once as they go over the wire. The client for targets takes it in place of the request's own when the request's
// Body is a HasRequestHead, because http.Request has no field for it. The zero value stands for no head.
type RequestHead struct {
	// What was written out.
	method, host string
	url          *url.URL
	header       http.Header

	text []byte
}

// HasRequestHead is the Body of a request whose head has been written out before.
type HasRequestHead interface{ RequestHead() *RequestHead }

// NewRequestHead writes a head out. URL and headers must not change from now on. The error says what cannot be sent.
func NewRequestHead(method string, to *url.URL, h http.Header) (RequestHead, error) {
	text, err := appendHead(nil, &http.Request{Method: method, URL: to, Header: h})
	if err != nil {
		return RequestHead{}, err
	}
	return RequestHead{method, to.Host, to, h, slices.Clip(text)}, nil
}

// writtenHead returns the head of a request if it was written out before, else nil. It counts only when the request still has
// the very URL and the very map of headers that it was made of: a RoundTripper in between that changes a header does so in a
// copy.
func writtenHead(req *http.Request) []byte {
	has, ok := req.Body.(HasRequestHead)
	if !ok {
		return nil
	}
	w := has.RequestHead()
	if w == nil || w.url != req.URL || w.method != req.Method || w.host != req.Host ||
		reflect.ValueOf(w.header).UnsafePointer() != reflect.ValueOf(req.Header).UnsafePointer() {
		return nil
	}
	return w.text
}

// appendHead appends request line, Host and headers.
func appendHead(dst []byte, req *http.Request) ([]byte, error) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	if !httpguts.ValidHostHeader(host) {
		return dst, fmt.Errorf("send a request: %q is no host", host)
	}
	dst = append(append(dst, req.Method...), ' ')
	dst = append(dst, req.URL.RequestURI()...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(append(dst, host...), "\r\n"...)
	return appendFields(dst, req.Header)
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
