package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
)

// maxBody is how much of an answer is read; key sets may be 256 KiB long.
const maxBody = 512 << 10

// probe asks over HTTP, one bounded request at a time.
type probe struct {
	client  *http.Client
	now     func() time.Time
	timeout time.Duration
}

func newProbe(s *Setup) *probe {
	client := *s.Client
	client.Jar, client.Timeout = nil, 0
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a redirect is a finding
	return &probe{client: &client, now: s.Now, timeout: s.Timeout}
}

// answer is what came back, or err.
type answer struct {
	url    string
	status int
	header http.Header
	body   []byte
	err    error

	connected connected
	tls       *tls.ConnectionState
	skew      time.Duration // how far the other clock is ahead of ours; valid when dated
	dated     bool
}

// connected is how far a connection came.
type connected struct {
	addresses []string // what the name stands for
	remote    string   // where a connection was made to
}

// ask is one request.
type ask struct {
	method string // GET when empty
	url    string
	header map[string]string
	body   string
}

func (p *probe) get(ctx context.Context, url string) answer {
	return p.do(ctx, ask{url: url, header: map[string]string{"Accept": "application/json"}})
}

// do sends one request and reads the answer. It never follows a redirect.
func (p *probe) do(ctx context.Context, q ask) answer {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	a := answer{url: q.url}
	resp, err := p.send(ctx, q, &a)
	if err != nil {
		a.err = err
		return a
	}
	defer resp.Body.Close()
	a.body, a.err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return a
}

// send sends a request and notes in a how it went, up to the head of the answer.
func (p *probe) send(ctx context.Context, q ask, a *answer) (*http.Response, error) {
	var mu sync.Mutex // guards far: attempts to connect race each other
	var far connected
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(d httptrace.DNSDoneInfo) {
			mu.Lock()
			defer mu.Unlock()
			for _, addr := range d.Addrs {
				far.addresses = append(far.addresses, addr.String())
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			mu.Lock()
			defer mu.Unlock()
			far.remote = info.Conn.RemoteAddr().String()
		},
	})
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader([]byte(q.body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "gatehouse-doctor")
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	sent := p.now()
	resp, err := p.client.Do(req)
	got := p.now()
	mu.Lock() // a slower attempt may still be under way
	a.connected = connected{far.addresses, far.remote}
	mu.Unlock()
	if err != nil {
		return nil, err
	}
	a.status, a.header, a.tls = resp.StatusCode, resp.Header, resp.TLS
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header has whole seconds, rounded down; the answer was made somewhere between sent and got.
		a.dated, a.skew = true, date.Add(time.Second/2).Sub(sent.Add(got.Sub(sent)/2))
	}
	return resp, nil
}

// mediaType is the type that the answer says it has.
func (a answer) mediaType() string {
	t, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return t
}

func (a answer) isHTML() bool {
	start := bytes.TrimSpace(bytes.ToLower(a.body[:min(len(a.body), 200)]))
	return a.mediaType() == "text/html" || bytes.HasPrefix(start, []byte("<!doctype html")) || bytes.HasPrefix(start, []byte("<html"))
}

// refusal is an error in the shape of RFC 6749 §5.2, as Gatehouse writes all of its errors to programs.
type refusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	RequestID   string `json:"request_id"`
}

// refusal reads the body as an error. Ours says whether Gatehouse wrote it, as opposed to something in front of it.
func (a answer) refusal() (r refusal, ours bool) {
	if json.Unmarshal(a.body, &r) != nil {
		return refusal{}, false
	}
	return r, r.Error != "" && r.RequestID != ""
}

// reason is the stable word at the end of Gatehouse's refusals: "… (token_missing)".
func (r refusal) reason() string {
	_, word, _ := strings.Cut(r.Description, " (")
	for {
		_, next, more := strings.Cut(word, " (")
		if !more {
			return strings.TrimSuffix(word, ")")
		}
		word = next
	}
}

// notFoundHere reports whether Gatehouse itself says that there is nothing at the path.
func (a answer) notFoundHere() bool {
	_, ours := a.refusal()
	return a.status == http.StatusNotFound && (ours || strings.TrimSpace(string(a.body)) == "404 page not found" && a.header.Get("X-Request-Id") != "")
}

// challengeParam is how mcp-remote and others read a challenge.
var challengeParam = regexp.MustCompile(`(\w+)=(?:"([^"]*)"|([\w-]+))`)

// challenge returns the parameters of the challenge of a scheme, read as clients read them.
func (a answer) challenge(scheme string) (map[string]string, bool) {
	for _, value := range a.header.Values("WWW-Authenticate") {
		rest, ok := cutPrefixFold(value, scheme)
		if !ok || rest != "" && rest[0] != ' ' {
			continue
		}
		params := map[string]string{}
		for _, m := range challengeParam.FindAllStringSubmatch(rest, -1) {
			params[m[1]] = m[2] + m[3]
		}
		return params, true
	}
	return nil, false
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// looks describes an answer in a few words, for findings.
func (a answer) looks() string {
	what := strings.TrimSpace(fmt.Sprintf("status %d %s", a.status, http.StatusText(a.status)))
	switch r, _ := a.refusal(); {
	case r.Error != "":
		what += ", " + clip(r.Error, 60)
		if r.Description != "" {
			what += ": " + clip(r.Description, 120)
		}
	case a.isHTML():
		what += ", an HTML page"
		if t := title(a.body); t != "" {
			what += " (“" + t + "”)"
		}
	case len(a.body) == 0:
	default:
		what += ": " + clip(string(a.body), 80)
	}
	return what
}

var titleTag = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

func title(body []byte) string {
	m := titleTag.FindSubmatch(body)
	if m == nil {
		return ""
	}
	return clip(string(m[1]), 60)
}

// clip shortens what others wrote, for one line that a terminal can be trusted with.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
