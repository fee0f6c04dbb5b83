package httpd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a handler leaves of a body is read by the server, and it alone: a client that takes its time with it, and then goes
// away or sends its next request, meets no watcher.
func TestBodyThatComesAfterItsAnswer(t *testing.T) {
	t.Parallel()
	var paths sync.Map
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths.Store(r.Method+" "+r.URL.Path, true)
		w.WriteHeader(http.StatusForbidden)
	})})
	say := func(header string) net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"+header+"\r\n")
		time.Sleep(2 * watchEvery)
		_, _ = io.WriteString(conn, "hi")
		return conn
	}
	for range 3 { // the server waits a moment for more, and the client goes away meanwhile
		conn := say("Connection: close\r\n")
		time.Sleep(3 * watchEvery)
		conn.Close()
	}
	conn := say("Connection: close\r\n") // a client that stays does not hold the connection open
	defer conn.Close()
	began := time.Now()
	for err := error(nil); err == nil; time.Sleep(watchEvery / 2) {
		_, err = io.WriteString(conn, "x")
		if time.Since(began) > 60*lingering {
			t.Fatal("the connection is still open")
		}
	}
	again := say("") // and one that goes on has its next request read from its first byte
	defer again.Close()
	in := bufio.NewReader(again)
	for i := range 20 {
		if _, err := http.ReadResponse(in, nil); err != nil {
			t.Fatal(i, err)
		}
		_, _ = fmt.Fprintf(again, "PUT /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
	}
	paths.Range(func(path, _ any) bool {
		if method, _, _ := strings.Cut(path.(string), " "); method != "POST" && method != "PUT" {
			t.Error("a request lost its beginning:", path)
		}
		return true
	})
}

// How long the answer before could take says nothing about this request.
func TestContinueOnAnOldConnection(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(tell), StallTimeout: 500 * time.Millisecond})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 2 {
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q %v", line, err)
		}
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(conn, "hi")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), `body="hi"`) {
			t.Fatalf("%s", body)
		}
		time.Sleep(600 * time.Millisecond)
	}
}

// Nothing is written into an answer that has begun: a client would take it for a part of that.
func TestNoContinueInsideAnAnswer(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		_, err := io.ReadAll(r.Body)
		read <- err
		_, _ = io.WriteString(w, "second")
	})})
	got := talk(t, addr, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	if err := <-read; err == nil || strings.Contains(got, "100 Continue") || !strings.HasSuffix(got, "5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n") {
		t.Errorf("%q %v", got, err)
	}
}

// A client that asked whether to send its body, and sent it without being told to, hears that the connection ends: where its
// next request begins, nobody knows.
func TestBodyThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	})})
	got := talk(t, addr, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhiGET /next HTTP/1.1\r\nHost: x\r\n\r\n")
	if !strings.Contains(got, "Connection: close") || !strings.HasSuffix(got, "/a") {
		t.Errorf("%q", got)
	}
}

// Whoever opens connections and says nothing holds them no longer than somebody who is slow to speak.
func TestConnectionThatNeverSpeaks(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(tell), HeaderTimeout: time.Second, IdleTimeout: time.Minute})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // not as long as a connection may rest
	if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
		t.Errorf("%q %v", b, err)
	}
	again, err := net.Dial("tcp", addr) // one that has spoken may rest
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	in := bufio.NewReader(again)
	for range 2 {
		_, _ = io.WriteString(again, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		time.Sleep(1200 * time.Millisecond)
	}
}

// Clients of all kinds at once, on handlers of all kinds: each answer is the one to its own request.
func TestNoAnswerIsAnothers(t *testing.T) {
	t.Parallel()
	pause := func() { time.Sleep(time.Duration(rand.IntN(2 * int(watchEvery)))) }
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Id")
		w.Header().Set("X-Id", id)
		switch r.URL.Path {
		case "/reads":
			_, _ = io.Copy(io.Discard, r.Body)
		case "/reads-a-part":
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
		case "/reads-late":
			pause()
			_, _ = io.Copy(io.Discard, r.Body)
		case "/leaves-a-read-behind":
			go func() { _, _ = io.Copy(io.Discard, r.Body) }()
		case "/streams":
			_ = http.NewResponseController(w).Flush()
			pause()
		}
		_, _ = io.WriteString(w, id)
	})})
	paths := []string{"/", "/reads", "/reads-a-part", "/reads-late", "/leaves-a-read-behind", "/streams"}
	var answers atomic.Int64
	var wg sync.WaitGroup
	for client := range 40 {
		wg.Go(func() {
			for round := range 4 {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				var ids []string
				for i := range 1 + rand.IntN(4) {
					ids = append(ids, fmt.Sprint(client, " ", round, " ", i))
					said := "POST " + paths[rand.IntN(len(paths))] + " HTTP/1.1\r\nHost: x\r\nX-Id: " + ids[i] + "\r\n"
					if rand.IntN(8) == 0 {
						said += "Connection: close\r\n"
					}
					if body := strings.Repeat("GET / ", rand.IntN(1500)); rand.IntN(2) == 0 {
						said += fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
					} else {
						said += fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n%x\r\n%sx\r\n0\r\n\r\n", len(body)+1, body)
					}
					for said != "" {
						n := 1 + rand.IntN(len(said))
						if _, err := io.WriteString(conn, said[:n]); err != nil {
							break // it has closed behind an answer
						}
						if said = said[n:]; rand.IntN(4) == 0 {
							pause()
						}
					}
				}
				answers.Add(int64(readAnswers(t, conn, ids)))
				conn.Close()
			}
		})
	}
	wg.Wait()
	if answers.Load() < 160 { // the first on each connection at least
		t.Errorf("%d answers", answers.Load())
	}
}

// readAnswers reads as many answers as come, and wants them in order.
func readAnswers(t *testing.T, conn net.Conn, ids []string) (n int) {
	in := bufio.NewReader(conn)
	for _, id := range ids {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return n
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Id") != id || string(body) != id {
			t.Errorf("want the answer to %s, got %s %v %q %v", id, resp.Status, resp.Header, body, err)
			return n
		}
		if n++; resp.Close {
			return n
		}
	}
	return n
}

// A server that stops while clients are still shaking hands.
func TestStopDuringHandshakes(t *testing.T) {
	t.Parallel()
	other := httptest.NewTLSServer(nil) // for its certificate
	defer other.Close()
	addr, stop := serve(t, Options{Handler: http.HandlerFunc(tell), TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: other.TLS.Certificates}})
	var wg sync.WaitGroup
	begun := make(chan struct{}, 50)
	for range 50 {
		wg.Go(func() {
			conn, err := tls.Dial("tcp", addr, other.Client().Transport.(*http.Transport).TLSClientConfig)
			begun <- struct{}{}
			if err == nil {
				conn.Close()
			}
		})
	}
	<-begun
	if err := stop(time.Minute); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
