package web

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a server and returns its address and what stops it.
func start(t *testing.T, o ServerOptions) (s *Server, stop func() error) {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Log == nil {
		o.Log = discard()
	}
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	streaming := make(chan struct{})
	s, stop := start(t, ServerOptions{Linger: 2 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			close(entered)
			<-release
			_, _ = io.WriteString(w, "finished")
		case "/stream":
			w.(http.Flusher).Flush()
			close(streaming)
			<-Stopping(r.Context())
			_, _ = io.WriteString(w, "come back")
		}
	})})
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	get := func(path string) (string, bool, error) {
		resp, err := client.Get("http://" + s.Addr().String() + path)
		if err != nil {
			return "", false, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), resp.Close, err
	}
	idle, err := net.Dial("tcp", s.Addr().String()) // a kept connection on which a request comes during the stop
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	reader := bufio.NewReader(idle)
	ask := func() *http.Response {
		_, _ = io.WriteString(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Errorf("request on a kept connection: %v", err)
			return &http.Response{}
		}
		return resp
	}
	if ask().Close {
		t.Error("the connection closes before the stop")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if body, _, err := get("/slow"); err != nil || body != "finished" {
			t.Errorf("request under way: %q %v", body, err)
		}
	})
	wg.Go(func() {
		if body, _, err := get("/stream"); err != nil || body != "come back" {
			t.Errorf("stream: %q %v", body, err)
		}
	})
	<-entered
	<-streaming
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	<-s.stopping
	if !ask().Close {
		t.Error("an answer during the stop does not say Connection: close")
	}
	close(release)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, _, err := get("/"); err == nil {
		t.Error("the server still answers")
	}
}

func TestStopCutsWhatOutlastsTheGrace(t *testing.T) {
	t.Parallel()
	var logged lockedBuffer
	entered := make(chan struct{})
	s, stop := start(t, ServerOptions{Linger: time.Millisecond, Grace: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&logged, nil)), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})})
	failed := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr().String())
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("the request was not cut")
	}
	if !strings.Contains(logged.String(), "outlasted the grace") {
		t.Errorf("log: %s", logged.String())
	}
}

func TestNotReadyWhileStopping(t *testing.T) {
	t.Parallel()
	s, err := NewServer(ServerOptions{Log: discard(), Handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	close(s.stopping)
	if worst, _ := NewHealth().check(s.base()); worst != Down {
		t.Errorf("health is %s", worst)
	}
	if Stopping(context.Background()) != nil {
		t.Error("outside of a server something is stopping")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// pipeListener serves the far ends of pipes, so that a server runs inside a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// inBubble runs f against a server in a synctest bubble: time there passes only while everybody waits.
func inBubble(t *testing.T, h http.Handler, f func(t *testing.T, dial func() net.Conn)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := NewServer(ServerOptions{Handler: h, Log: discard()})
		if err != nil {
			t.Fatal(err)
		}
		l := newPipeListener()
		s.listener = l
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		f(t, l.dial)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	inBubble(t, teapot, func(t *testing.T, dial func() net.Conn) {
		conn := dial()
		written := make(chan struct{})
		defer func() { conn.Close(); <-written }()
		go func() {
			defer close(written)
			for _, b := range []byte("GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 100)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		_, _ = io.ReadAll(conn)
		if took := time.Since(start); took < readHeaderTimeout || took > readHeaderTimeout+time.Second {
			t.Errorf("closed after %v, want %v", took, readHeaderTimeout)
		}
	})
}

func TestSlowBodyIsCutOff(t *testing.T) {
	h := Chain(HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.ReadAll(r.Body)
		return err
	}), WithRequestID, LimitBody(1000, 30*time.Second))
	inBubble(t, h, func(t *testing.T, dial func() net.Conn) {
		conn := dial()
		start, written := time.Now(), make(chan struct{})
		defer func() { conn.Close(); <-written }()
		go func() {
			defer close(written)
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
			for range 100 {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); resp.StatusCode != 408 || took != 30*time.Second {
			t.Errorf("%d after %v", resp.StatusCode, took)
		}
	})
}

func TestBodyDeadlineDoesNotCutTheAnswer(t *testing.T) {
	h := LimitBody(1000, 30*time.Second)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		for range 3 {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Minute):
			}
			_, _ = io.WriteString(w, "tick ")
			w.(http.Flusher).Flush()
		}
	}))
	inBubble(t, h, func(t *testing.T, dial func() net.Conn) {
		conn := dial()
		defer conn.Close()
		go func() { _, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody") }()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "tick tick tick " || err != nil {
			t.Errorf("%q %v", b, err)
		}
	})
}

func TestClientThatDoesNotReadFreesTheHandler(t *testing.T) {
	var left chan time.Duration // made in the bubble
	h := Record(discard(), time.Now, nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		start := time.Now()
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 8192))
		}
		left <- time.Since(start)
	}))
	inBubble(t, h, func(t *testing.T, dial func() net.Conn) {
		left = make(chan time.Duration, 1)
		conn := dial()
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if took := <-left; took != stallTimeout {
			t.Errorf("the handler was free after %v", took)
		}
	})
}

func TestHugeHeaderIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := start(t, ServerOptions{Linger: time.Millisecond, Handler: teapot})
	for name, headers := range map[string]string{
		"one":  "X: " + strings.Repeat("x", 1<<20) + "\r\n",
		"many": strings.Repeat("X: y\r\n", 20_000),
	} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"+headers+"\r\n") }()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %v %v", name, resp, err)
		}
		conn.Close()
	}
}

func TestHugeBodyIsRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	var read atomic.Int64
	s, _ := start(t, ServerOptions{Linger: time.Millisecond, Handler: LimitBody(1000, time.Minute)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		read.Store(n)
	}))})
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 413 || !resp.Close || read.Load() != 0 {
		t.Errorf("%v %v", resp, err)
	}
}

// writePair makes a self-signed certificate for localhost, in files.
func writePair(t *testing.T, dir, name string, serial int64) (files TLSFiles, cert *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files = TLSFiles{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	err = errors.Join(
		os.WriteFile(files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	cert, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return files, cert
}

func TestTLSFilesAreReloaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files, first := writePair(t, dir, "tls", 1)
	s, _ := start(t, ServerOptions{Linger: time.Millisecond, TLS: &files, Handler: teapot})
	serial := func(trusted *x509.Certificate) string {
		t.Helper()
		pool := x509.NewCertPool()
		pool.AddCert(trusted)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr().String())
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		return fmt.Sprint(resp.TLS.PeerCertificates[0].SerialNumber, " ", resp.Proto)
	}
	if got := serial(first); got != "1 HTTP/2.0" {
		t.Fatal(got)
	}
	_, second := writePair(t, dir, "tls", 2)
	if err := s.ReloadTLS(); err != nil {
		t.Fatal(err)
	}
	if got := serial(second); got != "2 HTTP/2.0" {
		t.Error(got)
	}
	other, _ := writePair(t, dir, "other", 3)
	if err := os.Rename(other.Cert, files.Cert); err != nil { // a certificate whose key is not there yet
		t.Fatal(err)
	}
	if err := s.ReloadTLS(); err == nil || !strings.Contains(err.Error(), files.Cert) {
		t.Errorf("a pair that does not match: %v", err)
	}
	if got := serial(second); got != "2 HTTP/2.0" {
		t.Errorf("a faulty pair replaced a good one: %s", got)
	}
}

func TestTLSFilesAreWatched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		files, _ := writePair(t, dir, "tls", 1)
		certs, err := loadCertificates(files)
		if err != nil {
			t.Fatal(err)
		}
		var logged lockedBuffer
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); certs.watch(ctx, slog.New(slog.NewTextHandler(&logged, nil))) }()
		time.Sleep(2 * certificateCheck)
		synctest.Wait()
		if logged.String() != "" {
			t.Errorf("unchanged files: %s", logged.String())
		}
		writePair(t, dir, "tls", 2)
		time.Sleep(certificateCheck)
		synctest.Wait()
		if got := certs.current.Load().pair.Leaf.SerialNumber.Int64(); got != 2 || !strings.Contains(logged.String(), "TLS files reloaded") {
			t.Errorf("serial %d, log %s", got, logged.String())
		}
		if err := os.Remove(files.Key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateCheck)
		synctest.Wait()
		if !strings.Contains(logged.String(), "not reloaded") {
			t.Errorf("log: %s", logged.String())
		}
		cancel()
		<-done
	})
}

func TestFaultyTLSFiles(t *testing.T) {
	t.Parallel()
	_, err := NewServer(ServerOptions{TLS: &TLSFiles{Cert: "/nowhere/tls.crt", Key: "/nowhere/tls.key"}, Log: discard()})
	if err == nil || !strings.Contains(err.Error(), "read TLS certificate: open /nowhere/tls.crt") {
		t.Error(err)
	}
}

func TestSystemdIsNotified(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	_, stop := start(t, ServerOptions{Linger: time.Millisecond, Handler: teapot})
	buf := make([]byte, 64)
	for i, want := range []string{"READY=1", "STOPPING=1"} {
		n, err := socket.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("message %d: %q %v", i, buf[:n], err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
