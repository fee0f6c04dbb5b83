package httpd

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"gatehouse/internal/callctx"
)

// fault is what is wrong with a request that does not reach the handler.
type fault struct {
	status int
	text   string
}

func (f *fault) Error() string { return f.text }

func badRequest(text string) *fault { return &fault{http.StatusBadRequest, text} }

func appendRefusal(dst []byte, f *fault) []byte {
	return fmt.Appendf(dst, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n",
		f.status, http.StatusText(f.status), len(f.text)+1, f.text)
}

// exchange is one request and its answer. All its parts stand in one struct, so that a request costs one allocation instead
// of five.
type exchange struct {
	request  http.Request
	ctx      callctx.Context
	url      url.URL
	body     body
	response response
}

// parse makes the request from its head (RFC 9112 §3 and §5). Where HTTP parsers are known to disagree, it refuses, so that a
// proxy in front cannot understand the request in another way.
func (x *exchange) parse(c *conn, head Head) error {
	x.body.c = c
	r := &x.request
	*r = *new(http.Request).WithContext(&x.ctx) // there is no other way to set it; the two requests stay on the stack
	r.URL, r.Header, r.RemoteAddr, r.TLS = &x.url, head.Header, c.remote, c.tls
	if last := &c.asked; last.first != "" && last.first == head.First && len(head.Hosts) == 1 && last.host == head.Hosts[0] {
		r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor = last.method, last.path, last.proto, 1, last.minor
		r.Host, x.url.Path = last.host, last.path
	} else if err := x.parseFirst(head); err != nil {
		return err
	}
	if err := x.frame(r, head); err != nil {
		return err
	}
	x.ctx.Begin(c.s.o.Context)
	x.response.begin(c, x)
	return nil
}

// asked is what the last request of a connection asked for, if its target was a plain path: most requests ask for the same.
type asked struct {
	first, host         string // as they stood in its head
	method, path, proto string
	minor               int
}

// parseFirst reads the request line and the host.
func (x *exchange) parseFirst(head Head) error {
	method, target, ok := strings.Cut(head.First, " ")
	target, proto, ok2 := strings.Cut(target, " ")
	if !ok || !ok2 || !ValidName(method) {
		return badRequest("the request line is malformed")
	}
	minor := 1
	switch proto {
	case "HTTP/1.1":
	case "HTTP/1.0":
		minor = 0
	default:
		return &fault{http.StatusHTTPVersionNotSupported, "HTTP/1.1 is spoken here"}
	}
	r := &x.request
	r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor = method, target, proto, 1, minor
	if err := x.parseTarget(r, head.Hosts); err != nil {
		return err
	}
	if c := x.body.c; plainPath(target) && len(head.Hosts) == 1 && c.lines.last != nil { // of a head that is too long to be remembered, nothing is
		c.asked = asked{head.First, r.Host, method, target, proto, minor}
	}
	return nil
}

// parseTarget reads what is asked for and from which host (RFC 9112 §3.2, RFC 9110 §7.2).
func (x *exchange) parseTarget(r *http.Request, hosts []string) error {
	switch {
	case len(hosts) > 1 || len(hosts) == 0 && r.ProtoMinor == 1:
		return badRequest("the request must name its host once")
	case len(hosts) == 1:
		r.Host = hosts[0]
	}
	if !httpguts.ValidHostHeader(r.Host) {
		return badRequest("the host of the request is malformed")
	}
	switch target := r.RequestURI; {
	case r.Method == http.MethodConnect: // a proxy takes what follows a success for no requests any more
		return badRequest("nothing is connected through here")
	case plainPath(target):
		x.url.Path = target
		return nil
	case target == "*" && r.Method == http.MethodOptions:
		x.url.Path = "*"
		return nil
	case !strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "http://") && !strings.HasPrefix(target, "https://"):
		return badRequest("the target of the request is malformed")
	}
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil || strings.Contains(r.RequestURI, "#") || u.User != nil {
		return badRequest("the target of the request is malformed")
	}
	x.url = *u
	if u.Host != "" { // an absolute target counts for more than the header
		r.Host = u.Host
	}
	return nil
}

// plainPath reports whether a request target is a path that needs no decoding and has no query, as nearly all are.
func plainPath(s string) bool {
	if len(s) == 0 || s[0] != '/' || len(s) > 1 && s[1] == '/' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '/' || c == '-' || c == '_' || c == '.' || c == '~':
		default:
			return false
		}
	}
	return true
}

// frame finds out how long the body is (RFC 9112 §6). A request that gives its length in two ways is refused: a proxy in
// front might go by the other one (request smuggling).
func (x *exchange) frame(r *http.Request, head Head) error {
	lengths, codings := head.Lengths, head.Codings
	if len(codings) > 0 && (len(lengths) > 0 || r.ProtoMinor == 0) {
		return badRequest("the request says its length in two ways")
	}
	if len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked") {
		return &fault{http.StatusNotImplemented, "chunked is the only transfer coding here"}
	}
	n := int64(0)
	for i, l := range lengths {
		v, err := strconv.ParseUint(l, 10, 62)
		if err != nil || i > 0 && int64(v) != n {
			return badRequest("the content length of the request is malformed")
		}
		n = int64(v)
	}
	if len(lengths) > 1 {
		r.Header["Content-Length"] = lengths[:1:1]
	}
	r.Close = r.ProtoMinor == 0 || httpguts.HeaderValuesContainsToken(head.Connection, "close")
	switch {
	case len(codings) == 1:
		delete(r.Header, "Transfer-Encoding")
		r.TransferEncoding, r.ContentLength = []string{"chunked"}, -1
		in := bufio.NewReaderSize(rawReader{x.body.c}, firstBuffer)
		x.body.chunks = &chunks{httputil.NewChunkedReader(in), in}
	case n > 0:
		r.ContentLength, x.body.left = n, n
	default:
		x.body.state = bodyDone
		r.Body = http.NoBody
		return x.expect(r, head.Expect)
	}
	r.Body = &x.body
	return x.expect(r, head.Expect)
}

// expect reads Expect (RFC 9110 §10.1.1).
func (x *exchange) expect(r *http.Request, v []string) error {
	switch {
	case len(v) == 0 || r.ProtoMinor == 0:
	case len(v) == 1 && strings.EqualFold(v[0], "100-continue"):
		x.body.expected = r.Body != http.NoBody
	default:
		return &fault{http.StatusExpectationFailed, "100-continue is the only expectation here"}
	}
	return nil
}
