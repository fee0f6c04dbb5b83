package httpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the test ends, and returns its address and a stop that waits.
func serve(t testing.TB, o Options) (addr string, stop func(time.Duration) error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	var once sync.Once
	stop = func(within time.Duration) error {
		var err error
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			go func() { // as a listener that closes while the server stops
				time.Sleep(time.Millisecond)
				l.Close()
			}()
			err = s.Shutdown(ctx)
			if err != nil {
				_ = s.Close()
			}
			if e := <-served; !errors.Is(e, ErrServerClosed) {
				err = errors.Join(err, e)
			}
		})
		return err
	}
	t.Cleanup(func() { _ = stop(5 * time.Second) })
	return l.Addr().String(), stop
}

// tell is a handler that says what it was asked.
func tell(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s host=%s length=%d body=%q err=%v", r.Method, r.URL.Path, r.URL.RawQuery, r.Host, r.ContentLength, body, err)
}

// talk sends bytes as they are and returns everything that comes back until the server closes the connection. A server that
// leaves it open for a while is told that nothing more will come.
func talk(t *testing.T, addr, said string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, said); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	got, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		var rest []byte
		rest, err = io.ReadAll(conn)
		got = append(got, rest...)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server does not close the connection; so far it said %q", got)
	}
	return string(got)
}

func TestConversations(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(tell), MaxHeader: 4 << 10})
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		said string
		want []string // parts of what comes back, in order
		not  string
	}{
		"plain":               {"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", []string{ok, "Content-Length:", "GET /a  host=x length=0 body=\"\""}, "Connection: close"},
		"query":               {"GET /a%20b?c=%26&d HTTP/1.1\r\nHost: x:1\r\n\r\n", []string{"GET /a b c=%26&d host=x:1"}, ""},
		"absolute":            {"GET http://y/p?q HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET /p q host=y"}, ""},
		"asterisk":            {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", []string{"OPTIONS *"}, ""},
		"two slashes":         {"GET //evil/p HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET //evil/p  host=x"}, ""},
		"length":              {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", []string{ok, "length=5 body=\"hello\" err=<nil>"}, ""},
		"length twice alike":  {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", []string{"body=\"hello\""}, ""},
		"chunks":              {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n", []string{"length=-1 body=\"hello\" err=<nil>", "GET /next"}, ""},
		"one after another":   {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ntwo", []string{"body=\"one\"", ok, "body=\"two\""}, ""},
		"told to go on":       {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi", []string{"HTTP/1.1 100 Continue\r\n\r\n", ok, "body=\"hi\""}, ""},
		"close":               {"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Close\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n", []string{ok, "Connection: close", "GET /"}, "/next"},
		"head":                {"HEAD /h HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n", []string{ok, "Content-Length: ", "\r\n\r\nHTTP/1.1 200 OK", "GET /next"}, "HEAD /h"},
		"older":               {"GET / HTTP/1.0\r\n\r\nGET /next HTTP/1.0\r\n\r\n", []string{ok, "Connection: close", "GET /  host= "}, "/next"},
		"name in other case":  {"POST / HTTP/1.1\r\nhOST: x\r\ncontent-length: 2\r\n\r\nhi", []string{"body=\"hi\""}, ""},
		"half a body":         {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXY", []string{"err=malformed"}, "/next"},
		"no host":             {"GET / HTTP/1.1\r\n\r\n", []string{"400 Bad Request", "Connection: close"}, "200 OK"},
		"two hosts":           {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"evil host":           {"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"two lengths":         {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", []string{"400 Bad Request"}, "200 OK"},
		"list of lengths":     {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", []string{"400 Bad Request"}, "200 OK"},
		"signed length":       {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", []string{"400 Bad Request"}, "200 OK"},
		"length and chunks":   {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"chunks twice":        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"501 Not Implemented"}, "200 OK"},
		"other coding":        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []string{"501 Not Implemented"}, "200 OK"},
		"chunks in an older":  {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"space before colon":  {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello", []string{"400 Bad Request"}, "200 OK"},
		"folded":              {"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"bare line feeds":     {"GET / HTTP/1.1\nHost: x\n\n", []string{"400 Bad Request"}, "200 OK"},
		"bare feed inside":    {"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"bare return inside":  {"GET / HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: 9\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"zero byte":           {"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"tab in the line":     {"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"four words":          {"GET / x HTTP/1.1\r\nHost: x\r\n\r\n", []string{"505"}, "200 OK"},
		"no protocol":         {"GET /\r\nHost: x\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"HTTP/2":              {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []string{"505"}, "200 OK"},
		"a target of no kind": {"GET evil HTTP/1.1\r\nHost: x\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"a fragment":          {"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"connect":             {"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"connect to a path":   {"CONNECT /a HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n", []string{"400 Bad Request"}, "200 OK"},
		"another expectation": {"POST / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\nContent-Length: 2\r\n\r\nhi", []string{"417"}, "200 OK"},
		"a long head":         {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 9<<10) + "\r\n\r\n", []string{"431"}, "200 OK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := talk(t, addr, c.said)
			rest := got
			for _, part := range c.want {
				i := strings.Index(rest, part)
				if i < 0 {
					t.Fatalf("%q is missing in\n%s", part, got)
				}
				rest = rest[i+len(part):]
			}
			if c.not != "" && strings.Contains(got, c.not) {
				t.Errorf("%q is in\n%s", c.not, got)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789", 5000)
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/nothing":
		case "/large":
			_, _ = io.WriteString(w, large)
		case "/length":
			w.Header().Set("Content-Length", "50000")
			_, _ = io.WriteString(w, large)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrContentLength) {
				panic(err)
			}
		case "/short":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
		case "/flushed":
			for i := range 3 {
				fmt.Fprintf(w, "part %d ", i)
				w.(http.Flusher).Flush()
			}
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
				panic(err)
			}
		case "/evil":
			w.Header()["X-A"] = []string{"b\r\nX-Evil: c"}
			w.Header()["X-Bad\r\nX-Evil"] = []string{"d"}
			w.WriteHeader(http.StatusTeapot)
			w.Header().Set("X-Late", "e")
		case "/early":
			w.Header().Set("Link", "x")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "later")
		case "/panic":
			panic("on purpose")
		case "/late":
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]string{"/nothing": "", "/large": large, "/length": large, "/flushed": "part 0 part 1 part 2 ", "/empty": "", "/early": "later"} {
		for range 2 {
			resp, err := client.Get("http://" + addr + path)
			if err != nil {
				t.Fatal(path, err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(b) != want || resp.Header.Get("Date") == "" {
				t.Errorf("%s: %d bytes, %v, %v", path, len(b), err, resp.Header)
			}
			if known := path == "/nothing" || path == "/length"; known && resp.ContentLength != int64(len(want)) {
				t.Errorf("%s: length %d", path, resp.ContentLength)
			}
		}
	}
	for _, path := range []string{"/short", "/panic", "/late"} {
		resp, err := client.Get("http://" + addr + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: half an answer was taken for a whole one", path)
		}
	}
	got := talk(t, addr, "GET /evil HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 418 I'm a teapot\r\n") || strings.Contains(got, "\nX-Evil") || strings.Contains(got, "X-Late") {
		t.Errorf("%q", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 60 {
				body := strings.Repeat(fmt.Sprint(i, " ", j, ";"), 1+j*97)
				var sent io.Reader = strings.NewReader(body)
				if j%3 == 0 {
					sent = io.MultiReader(sent) // chunked
				}
				resp, err := client.Post("http://"+addr, "text/plain", sent)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != body {
					t.Errorf("%d bytes of %d: %v", len(b), len(body), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A client that goes away ends its request; one that only sends its next request early does not.
func TestClientThatGoesAway(t *testing.T) {
	t.Parallel()
	ended, entered := make(chan error, 2), make(chan struct{}, 2)
	release := make(chan struct{})
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/next" {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
		}
		ended <- r.Context().Err()
	})})
	for _, again := range []bool{false, true} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
		<-entered
		if !again {
			conn.Close()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			continue
		}
		time.Sleep(3 * watchEvery) // so that it is being watched
		_, _ = io.WriteString(conn, "GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
		time.Sleep(watchEvery / 4)
		close(release)
		if err := <-ended; err != nil {
			t.Error("a request sent early ended the one before:", err)
		}
		in := bufio.NewReader(conn)
		for range 2 {
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		conn.Close()
	}
}

func TestBodyThatNobodyReads(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		w.WriteHeader(http.StatusForbidden)
	})})
	small := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("GET / HTTP/1.1\r\n", 6250)
	if got := talk(t, addr, small+"GET / HTTP/1.1\r\nHost: x\r\n\r\n"); strings.Count(got, "403 Forbidden") != 2 || seen.Load() != 2 {
		t.Errorf("%d requests were seen: %q", seen.Load(), got)
	}
	seen.Store(0)
	tiny := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\nGET / HTTP/1.1\r\n"
	if got := talk(t, addr, tiny+tiny+"GET / HTTP/1.1\r\nHost: x\r\n\r\n"); strings.Count(got, "403 Forbidden") != 3 || seen.Load() != 3 {
		t.Errorf("%d requests were seen: %q", seen.Load(), got)
	}
	seen.Store(0)
	big := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 10*maxDiscard)
	if got := talk(t, addr, big+strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100)); strings.Count(got, "403 Forbidden") != 1 || !strings.Contains(got, "Connection: close") || seen.Load() != 1 {
		t.Errorf("%d requests were seen: %q", seen.Load(), got)
	}
	// A client that sends all of a large body before it reads gets to read the answer.
	for range 5 {
		resp, err := http.Post("http://"+addr, "text/plain", bytes.NewReader(make([]byte, 40*maxDiscard)))
		if err != nil {
			t.Error(err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Error(resp.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	seen.Store(0)
	if got := talk(t, addr, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 403") || !strings.Contains(got, "Connection: close") {
		t.Errorf("%q", got)
	}
}

func TestSlowness(t *testing.T) {
	t.Parallel()
	blocked := make(chan error, 1)
	addr, _ := serve(t, Options{HeaderTimeout: time.Second, IdleTimeout: 200 * time.Millisecond, StallTimeout: 500 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" { // longer than every timeout
				time.Sleep(1200 * time.Millisecond)
				_, _ = io.WriteString(w, "slow")
				return
			}
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			blocked <- err
		})})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost:")
	if b, _ := io.ReadAll(conn); !bytes.HasPrefix(b, []byte("HTTP/1.1 408 ")) {
		t.Errorf("half a head: %q", b)
	}
	rests, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer rests.Close()
	if b, err := io.ReadAll(rests); len(b) > 0 || err != nil {
		t.Errorf("a connection that rests: %q %v", b, err)
	}
	if got := talk(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"[:0]); got != "" {
		t.Error(got)
	}
	deaf, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	_, _ = io.WriteString(deaf, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := <-blocked; err == nil {
		t.Error("a client that does not read holds its handler")
	}
	resp, err := http.Get("http://" + addr + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "slow" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestShutdownWaits(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	addr, stop := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})})
	rests, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer rests.Close()
	answer := make(chan string, 1)
	go func() { answer <- talk(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop(time.Minute) }()
	if b, err := io.ReadAll(rests); len(b) > 0 || err != nil { // ends although a request is under way
		t.Errorf("%q %v", b, err)
	}
	close(release)
	if got := <-answer; !strings.Contains(got, "Connection: close") || !strings.HasSuffix(got, "done") {
		t.Errorf("%q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	addr, stop := serve(t, Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	if err := stop(20 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if b, _ := io.ReadAll(conn); len(b) > 0 {
		t.Errorf("%q", b)
	}
}

// What is accepted, net/http reads the same way; and nothing that comes in ends the server.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "GET http://a/b HTTP/1.0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\na: c\r\nExpect: 100-continue\r\n\r\n",
	} {
		f.Add(seed)
	}
	s, err := New(Options{Handler: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		here, there := net.Pipe()
		go func() {
			_, _ = io.WriteString(there, text)
			there.Close()
		}()
		defer here.Close()
		c := &conn{s: s, nc: here, remote: "x"}
		if !c.awaitRequest() {
			return
		}
		head, err := c.readHead()
		if err != nil {
			return
		}
		x := &exchange{}
		if x.parse(c, head) != nil {
			return
		}
		defer x.ctx.Cancel(nil)
		ours := x.request
		theirs, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatalf("taken: %q, but net/http says %v", text, err)
		}
		if theirs.Method != ours.Method || theirs.Host != ours.Host || theirs.URL.String() != ours.URL.String() || theirs.ContentLength != ours.ContentLength ||
			len(theirs.TransferEncoding) != len(ours.TransferEncoding) || theirs.ProtoMinor != ours.ProtoMinor {
			t.Fatalf("%q:\n%s %s %s %d %q\nnet/http:\n%s %s %s %d %q", text, ours.Method, ours.Host, ours.URL, ours.ContentLength, ours.TransferEncoding,
				theirs.Method, theirs.Host, theirs.URL, theirs.ContentLength, theirs.TransferEncoding)
		}
		for name := range ours.Header {
			if name != "Content-Length" && fmt.Sprint(ours.Header[name]) != fmt.Sprint(theirs.Header[name]) {
				t.Fatalf("%q: %s is %q; net/http says %q", text, name, ours.Header[name], theirs.Header[name])
			}
		}
		b1, err1 := io.ReadAll(io.LimitReader(ours.Body, 1<<20))
		b2, err2 := io.ReadAll(io.LimitReader(theirs.Body, 1<<20))
		if err1 == nil && (err2 != nil || !bytes.Equal(b1, b2)) {
			t.Fatalf("%q: body %q; net/http says %q %v", text, b1, b2, err2)
		}
	})
}
