package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"gatehouse/internal/httpd"
)

// rawServer answers each request of a connection with what answer says, byte for byte.
func rawServer(t *testing.T, answer func(n int, r *http.Request) string) (url string, accepted *atomic.Int64) {
	t.Helper()
	accepted = new(atomic.Int64)
	addr := connections(t, func(conn net.Conn) {
		accepted.Add(1)
		in := bufio.NewReader(conn)
		for n := 0; ; n++ {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			said := answer(n, r)
			_, _ = io.WriteString(conn, said)
			if strings.Contains(said, "Connection: close") || said == "" || !strings.Contains(said, "Content-Length") && !strings.Contains(said, "chunked") {
				return
			}
		}
	})
	return "http://" + addr, accepted
}

func echoBody(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	_, _ = w.Write(b)
}

func target(t *testing.T) *wire {
	t.Helper()
	c := NewTargetClient(ClientOptions{})
	t.Cleanup(c.CloseIdleConnections)
	return c.Transport.(*wire)
}

func postTo(t *testing.T, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWireReadsEveryFraming(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer, body string
		kept         bool
	}{
		"length":                      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true},
		"no body":                     {"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "", true},
		"no reason":                   {"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "hello", true},
		"no content":                  {"HTTP/1.1 204 No Content\r\nX-Content-Length-Not: 1\r\n\r\n", "", true},
		"the length twice":            {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello", true},
		"chunks":                      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n", "hello", true},
		"early hints a hundred times": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxInterim) + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true},
		"early hints before":          {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true},
		"to the end":                  {"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello", "hello", false},
		"an older server":             {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", false},
		"a good-bye":                  {"HTTP/1.1 200 OK\r\nconnection: Keep-Alive, Close\r\nContent-Length: 5\r\nX-Connection: close\r\n\r\nhello", "hello", false},
		"a long head":                 {"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 20<<10) + "\r\nContent-Length: 5\r\n\r\nhello", "hello", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, accepted := rawServer(t, func(int, *http.Request) string { return c.answer })
			w := target(t)
			for range 3 {
				resp, err := w.RoundTrip(postTo(t, url, "question"))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(iotest.OneByteReader(resp.Body))
				if err != nil || string(b) != c.body {
					t.Fatalf("%q %v", b, err)
				}
				if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Error("behind its end the body says", n, err)
				}
				resp.Body.Close()
			}
			want := int64(3)
			if c.kept {
				want = 1
			}
			if name == "no content" {
				return // the server in this test closes
			}
			if got := accepted.Load(); got != want {
				t.Errorf("%d connections for three requests, want %d", got, want)
			}
		})
	}
}

// Whoever reads an answer may find that it is none, at a time when the connection has been kept, or is in use again.
func TestWireAmiss(t *testing.T) {
	t.Parallel()
	url, accepted := rawServer(t, func(int, *http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" })
	w := target(t)
	answer := func() *http.Response {
		t.Helper()
		resp, err := w.RoundTrip(postTo(t, url, "question"))
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	read := func(resp *http.Response) {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	for i := range int64(3) {
		first := answer()
		read(first)
		second := answer() // over the same connection
		if i > 0 {
			read(second)
		}
		first.Body.(interface{ Amiss() }).Amiss()
		read(second)
		if got := accepted.Load(); got != i+1 {
			t.Errorf("%d connections, want %d", got, i+1)
		}
	}
}

func TestWireRefuses(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing":                   "",
		"another protocol":          "SSH-2.0-OpenSSH\r\n\r\n",
		"HTTP/2":                    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"no status":                 "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
		"a long status":             "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
		"switching":                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n",
		"two lengths":               "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"a signed length":           "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
		"length and chunks":         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"an unknown coding":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"chunks in HTTP/1.0":        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"space before the colon":    "HTTP/1.1 200 OK\r\nContent-Length : 5\r\nContent-Length: 0\r\n\r\nhello",
		"a folded line":             "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
		"a line feed in the status": "HTTP/1.1 200 O\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
		"a bare line feed":          "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n",
		"line feeds alone":          "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
		"a control character":       "HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
		"a head without an end":     "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeader+1) + "\r\nContent-Length: 0\r\n\r\n",
		"early hints without end":   strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxInterim+1) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"a body that is too long":   "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := rawServer(t, func(int, *http.Request) string { return answer })
			if resp, err := target(t).RoundTrip(postTo(t, url, "question")); err == nil {
				t.Errorf("taken with status %d", resp.StatusCode)
			}
		})
	}
}

// Nothing stands before a head. A server that sends an empty line is not waited for.
func TestWireTakesNoEmptyLine(t *testing.T) {
	t.Parallel()
	addr := connections(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(conn, "\r\n")
		_, _ = io.Copy(io.Discard, in)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := target(t).RoundTrip(postTo(t, "http://"+addr, "question").WithContext(ctx)); err == nil || !strings.Contains(err.Error(), "empty line") {
		t.Errorf("%v", err)
	}
}

func TestWireBrokenBodies(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"short":            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhello",
		"no last chunk":    "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"half a chunk":     "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
		"no end of chunks": "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
		"no chunks":        "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := rawServer(t, func(int, *http.Request) string { return answer })
			resp, err := target(t).RoundTrip(postTo(t, url, "question"))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("a body that breaks off was whole: %q", b)
			}
		})
	}
}

func TestWireWritesWhatItWasGiven(t *testing.T) {
	t.Parallel()
	var got []*http.Request
	url, _ := rawServer(t, func(_ int, r *http.Request) string {
		got = append(got, r)
		return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	})
	w := target(t)
	large := strings.Repeat("0123456789", 100<<10)
	r := postTo(t, url+"/a%20b?c=d", large)
	r.Header = http.Header{"X-One": {"1", "2"}, "Content-Length": {"3"}, "Transfer-Encoding": {"chunked"}, "Connection": {"close"}, "Host": {"evil"}}
	if _, err := w.RoundTrip(r); err != nil {
		t.Fatal(err)
	}
	g := got[0]
	body, _ := io.ReadAll(g.Body)
	if g.Method != "POST" || g.RequestURI != "/a%20b?c=d" || g.Host != r.URL.Host || !slices.Equal(g.Header["X-One"], []string{"1", "2"}) ||
		string(body) != large || len(g.TransferEncoding) != 0 || g.Close {
		t.Errorf("got %v %q of %d bytes, headers %v", g.Method, g.RequestURI, len(body), g.Header)
	}
	for name, header := range map[string]http.Header{
		"a name":  {"X\r\nEvil": {"1"}},
		"a value": {"X": {"1\r\nEvil: 2"}},
	} {
		r := postTo(t, url, "x")
		r.Header = header
		if _, err := w.RoundTrip(r); err == nil {
			t.Errorf("%s with a line end was sent", name)
		}
	}
	if len(got) != 1 {
		t.Errorf("%d requests arrived", len(got))
	}
}

// A connection that the server closed while it rested is not used again, whatever the method, and be the rest ever so short.
func TestWireLeavesDeadConnections(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(echoBody))
	defer s.Close()
	w := target(t)
	ask := func() error {
		resp, err := w.RoundTrip(postTo(t, s.URL, "hello"))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	s.CloseClientConnections()
	if err := ask(); err != nil {
		t.Errorf("a connection that was closed meanwhile: %v", err)
	}
}

// A request that may have been acted on is not sent a second time.
func TestWireSendsNothingTwice(t *testing.T) {
	t.Parallel()
	var posts, gets atomic.Int64
	url, _ := rawServer(t, func(n int, r *http.Request) string {
		if r.Method == http.MethodPost {
			posts.Add(1)
		} else {
			gets.Add(1)
		}
		if n == 1 {
			return "" // closes without an answer
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	})
	w := target(t)
	for i := range 2 {
		resp, err := w.RoundTrip(postTo(t, url, "hello"))
		if (err == nil) != (i == 0) {
			t.Fatalf("request %d: %v", i, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	if posts.Load() != 2 {
		t.Errorf("two POSTs arrived as %d", posts.Load())
	}
	for i := range 2 {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if _, err := w.RoundTrip(r); err != nil {
			t.Errorf("GET %d: %v", i, err)
		}
	}
	if gets.Load() != 3 {
		t.Errorf("two GETs, of which one met a connection that ended, arrived as %d", gets.Load())
	}
}

func TestWireEndsWithItsContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(release)
	w := target(t)
	for _, path := range []string{"/head", "/body"} {
		ctx, cancel := context.WithCancel(t.Context())
		r := postTo(t, s.URL+path, "hello").WithContext(ctx)
		if path == "/head" {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		resp, err := w.RoundTrip(r)
		if path == "/body" {
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(20*time.Millisecond, cancel)
			_, err = io.ReadAll(resp.Body)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
		cancel()
	}
}

// Close may come from another goroutine, and ends a Read that waits.
func TestWireBodyClosedDuringRead(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		<-release
	}))
	defer s.Close()
	defer close(release)
	resp, err := target(t).RoundTrip(postTo(t, s.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { resp.Body.Close() })
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a body that was closed ended well")
	}
}

func TestWireOverTLS(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2 ", http2), func(t *testing.T) {
			t.Parallel()
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Proto", r.Proto)
				echoBody(w, r)
			}))
			s.EnableHTTP2 = http2
			s.StartTLS()
			defer s.Close()
			pool := x509.NewCertPool()
			pool.AddCert(s.Certificate())
			c := NewTargetClient(ClientOptions{RootCAs: pool})
			defer c.CloseIdleConnections()
			for range 3 {
				resp, err := c.Transport.RoundTrip(postTo(t, s.URL, "hello"))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != "hello" || (resp.Header.Get("X-Proto") == "HTTP/2.0") != http2 {
					t.Errorf("%q %v over %s", b, err, resp.Header.Get("X-Proto"))
				}
			}
		})
	}
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	if _, err := target(t).RoundTrip(postTo(t, s.URL, "")); err == nil {
		t.Error("a certificate that nobody trusts was taken")
	}
}

func TestWireResumesSessions(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, r.TLS.DidResume)
	}))
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c := NewTargetClient(ClientOptions{RootCAs: pool})
	defer c.CloseIdleConnections()
	for _, want := range []string{"false", "true", "true"} {
		resp, err := c.Transport.RoundTrip(postTo(t, s.URL, ""))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != want {
			t.Errorf("resumed: %s, want %s, %v", b, want, err)
		}
	}
}

func TestWireStaysBehindTheFence(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://[::ffff:169.254.169.254]/", "http://100.100.100.200/"} {
		if _, err := target(t).RoundTrip(postTo(t, url, "")); !errors.Is(err, ErrFenced) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestWireMixesNothingUp(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(echoBody))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	w := target(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 100 {
				body := strings.Repeat(fmt.Sprintf("%d-%d ", i, j), 1+j*10)
				resp, err := w.RoundTrip(postTo(t, s.URL, body))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != body {
					t.Errorf("%d bytes of %d, %v", len(b), len(body), err)
					return
				}
			}
		})
	}
	wg.Wait()
	if opened.Load() > 16 {
		t.Errorf("%d connections for 16 at a time", opened.Load())
	}
}

func TestWireIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	url, conns := rawServer(t, func(int, *http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" })
	w := target(t)
	use := func() {
		if _, err := w.RoundTrip(postTo(t, url, "")); err != nil {
			t.Fatal(err)
		}
	}
	use()
	for _, h := range w.plain {
		for range 3 {
			w.expire(h)
			use()
		}
		if conns.Load() != 1 || h.prune == nil {
			t.Errorf("%d connections, of which only one was needed", conns.Load())
		}
		w.expire(h)
		w.expire(h)
		if len(h.idle) != 0 || h.prune != nil {
			t.Errorf("%d connections idle for long are kept", len(h.idle))
		}
	}
}

// What is accepted, net/http reads the same way.
func FuzzWireHead(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2", "HTTP/1.0 404\r\nX: y\r\nx: z", "HTTP/1.1 200 OK\r\nA:\tb ",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\r\n\r\n") {
			return
		}
		ours := &http.Response{}
		var head httpd.Head
		n, err := parseHead(new(httpd.Lines), []byte(text+"\r\n\r\n"), ours, &head)
		if n == 0 && err == nil {
			t.Fatalf("%q: its end was not found", text)
		}
		if err != nil || ours.StatusCode < 200 { // 1xx heads are skipped, whatever they say
			return
		}
		ours.Request = &http.Request{Method: http.MethodPost}
		b := &wireBody{c: &wireConn{}, left: -1}
		if b.frame(ours, &head) != nil {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text+"\r\n\r\n")), ours.Request)
		if err != nil {
			t.Fatalf("taken: %q, but net/http says %v", text, err)
		}
		defer theirs.Body.Close()
		if theirs.StatusCode != ours.StatusCode || theirs.ContentLength != ours.ContentLength || len(theirs.TransferEncoding) != len(ours.TransferEncoding) {
			t.Fatalf("%q: status %d, length %d, %q; net/http says %d, %d, %q", text, ours.StatusCode, ours.ContentLength, ours.TransferEncoding,
				theirs.StatusCode, theirs.ContentLength, theirs.TransferEncoding)
		}
		for _, name := range []string{"Content-Type", "Mcp-Session-Id", "Location", "Www-Authenticate"} {
			if !slices.Equal(ours.Header[name], theirs.Header[name]) {
				t.Fatalf("%q: %s is %q; net/http says %q", text, name, ours.Header[name], theirs.Header[name])
			}
		}
	})
}

// writtenOut is a body whose request's headers were written out.
type writtenOut struct {
	io.ReadCloser
	head *RequestHead
}

func (w writtenOut) RequestHead() *RequestHead { return w.head }

// A head that was written out stands for the request's own only as long as that is the same.
func TestWireRequestHead(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		echoBody(w, r)
	}))
	defer s.Close()
	w := target(t)
	to, err := url.Parse(s.URL + "/a b?c=d")
	if err != nil {
		t.Fatal(err)
	}
	common := http.Header{"X-One": {"1", "2"}, "Host": {"elsewhere.example"}, "Content-Length": {"7"}, "Connection": {"close"}}
	head, err := NewRequestHead(http.MethodPost, to, common)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*http.Request){
		"none":   func(*http.Request) {},
		"header": func(r *http.Request) { r.Header = r.Header.Clone(); r.Header.Set("Authorization", "Bearer other") },
		"url":    func(r *http.Request) { r.URL = r.URL.JoinPath("e") },
		"host":   func(r *http.Request) { r.Host = "other.example" },
		"method": func(r *http.Request) { r.Method = http.MethodPut },
	} {
		req := postTo(t, s.URL, "hello")
		req.URL, req.Header, req.Body = to, common, writtenOut{req.Body, &head}
		change(req)
		want := fmt.Sprintf("%s %s %s %v %s", req.Method, req.URL.RequestURI(), req.Host, req.Header["X-One"], req.Header.Get("Authorization"))
		resp, err := w.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		r := <-got
		if sent := fmt.Sprintf("%s %s %s %v %s", r.Method, r.RequestURI, r.Host, r.Header["X-One"], r.Header.Get("Authorization")); sent != want || string(body) != "hello" {
			t.Errorf("%s changed: %q, sent %s, want %s", name, body, sent, want)
		}
	}
	for _, bad := range []http.Header{{"X": {"a\r\nY: b"}}, {"X\n": {"a"}}, {"": {"a"}}} {
		if _, err := NewRequestHead(http.MethodPost, to, bad); err == nil {
			t.Errorf("%q was written out", bad)
		}
	}
	if _, err := NewRequestHead(http.MethodPost, &url.URL{Scheme: "http", Host: "a b"}, nil); err == nil {
		t.Error("a host with a space was written out")
	}
}
