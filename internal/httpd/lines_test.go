package httpd

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// sameAsFresh parses a head with what l remembers, and wants what is parsed without any memory.
func sameAsFresh(t *testing.T, l *Lines, text string) http.Header {
	t.Helper()
	buf := []byte(text + "\r\n\r\n")
	whole := bytes.Index(buf, []byte("\r\n\r\n")) + 4
	for _, some := range []int{0, whole / 2, whole - 1} {
		if _, n, err := l.Parse(buf[:some]); n != 0 || err != nil {
			t.Fatalf("%q: a head of %d bytes, %v", buf[:some], n, err)
		}
	}
	got, n, err := l.Parse(buf)
	clear(buf) // the connection reads something else into it
	want, wantN, wantErr := new(Lines).Parse([]byte(text + "\r\n\r\n"))
	if !reflect.DeepEqual(got, want) || n != wantN || fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && n != whole {
		t.Fatalf("%q: %+q %d %v; without memory %+q %d %v", text, got, n, err, want, wantN, wantErr)
	}
	return got.Header
}

// misuse does to the headers of a request what handlers may do.
func misuse(header http.Header) {
	if header == nil {
		return
	}
	for name := range header {
		header.Add(name, "added")
	}
	header.Set("Host", "another")
	header.Del("A")
	header.Add("B", "added")
}

func FuzzLines(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: x\r\nA: b", "GET / HTTP/1.1\r\nHost: x\r\nA: c", "GET /a HTTP/1.1\r\nHost: x")
	f.Add("GET /", "GET /\r\nA: b\r\na: c\r\nA: d", "GET /\r\nA: b\r\na: e\r\nA: d")
	f.Add("\r\nA:b", "\r\nA:bc", "\r\nA:\r\n")
	f.Add("GET /\r\nA: b\r\nB: c", "GET /\r\nA: b\nB: c", "GET /\r\nA: b\rB: c")
	f.Add("GET /\r\nA: b\r\nB: c", "GET /\r\nB: c\r\nA: b", "GET /\r\nA : b\r\nB: c")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var l Lines
		for _, head := range []string{a, b, a, c, c, b} {
			misuse(sameAsFresh(t, &l, head))
		}
	})
}

// Heads that have much in common, as those of one client have.
func TestLinesOfManyHeads(t *testing.T) {
	t.Parallel()
	names := []string{"Host", "authorization", "Mcp-Session-Id", "mcp-name", "Content-Length", "Accept", "accept", "X-A", "Cookie"}
	values := []string{"x", " x ", "", "\t", "a longer value, with \x80 in it", strings.Repeat("token", 200), "b"}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var l Lines
		var lines []string
		for range 200 {
			switch n := r.IntN(10); {
			case n < 2 || len(lines) == 0:
				lines = slices.Insert(lines, r.IntN(len(lines)+1), names[r.IntN(len(names))]+":"+values[r.IntN(len(values))])
			case n < 3:
				i := r.IntN(len(lines))
				lines = slices.Delete(lines, i, i+1)
			case n < 8:
				name, _, _ := strings.Cut(lines[r.IntN(len(lines))], ":")
				lines[r.IntN(len(lines))] = name + ":" + values[r.IntN(len(values))]
			case n < 9:
				_, _, _ = l.Parse([]byte("GET /\r\n" + strings.Join(lines, "\r\n") + "\r\nbad\x00: line\r\n\r\n"))
			}
			header := sameAsFresh(t, &l, strings.Join(append([]string{"GET /"}, lines...), "\r\n"))
			if r.IntN(2) == 0 {
				misuse(header)
			}
		}
	}
}

// What a request asks for is its own affair, whatever the one before on its connection asked for.
func TestRequestsOfOneConnectionAskAnew(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "(%s %s %s %s %s %s)", r.Method, r.RequestURI, r.URL, r.URL.RawPath, r.Host, r.Proto)
	})})
	said, want := "", ""
	for _, ask := range []struct{ first, host, want string }{
		{"GET /a HTTP/1.1", "x", "GET /a /a  x"},
		{"GET /a HTTP/1.1", "x", "GET /a /a  x"},
		{"GET /a HTTP/1.1", "y", "GET /a /a  y"},
		{"GET /b HTTP/1.1", "y", "GET /b /b  y"},
		{"PUT /b HTTP/1.1", "y", "PUT /b /b  y"},
		{"PUT /b?c HTTP/1.1", "y", "PUT /b?c /b?c  y"},
		{"PUT /b%2fc HTTP/1.1", "y", "PUT /b%2fc /b%2fc /b%2fc y"},
		{"PUT /b HTTP/1.1", "y", "PUT /b /b  y"},
		{"PUT http://z/b HTTP/1.1", "y", "PUT http://z/b http://z/b  z"},
		{"PUT http://z/b HTTP/1.1", "y", "PUT http://z/b http://z/b  z"},
		{"PUT /b HTTP/1.1", "y", "PUT /b /b  y"},
		{"PUT /b HTTP/1.1", "y", "PUT /b /b  y"},
	} {
		said += ask.first + "\r\nHost: " + ask.host + "\r\n\r\n"
		want += "(" + ask.want + " HTTP/1.1)"
	}
	answers, got := talk(t, addr, said+"PUT /b HTTP/1.0\r\nHost: y\r\n\r\n"), ""
	for rest := answers; rest != ""; {
		var body string
		_, rest, _ = strings.Cut(rest, "\r\n\r\n")
		body, rest, _ = strings.Cut(rest, "HTTP/1.1 200")
		got += body
	}
	if want += "(PUT /b /b  y HTTP/1.0)"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// An empty request line is not the one that a connection had before its first request. It comes through when its CR and its LF
// come apart.
func TestEmptyRequestLine(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		_, _ = io.WriteString(there, "\r")
		_, _ = io.WriteString(there, "\nHost: \r\n\r\n")
	}()
	c := &conn{s: &Server{o: Options{MaxHeader: 1 << 10, HeaderTimeout: time.Minute, Context: t.Context()}}, nc: here}
	if !c.awaitRequest() {
		t.Fatal("nothing came")
	}
	head, err := c.readHead()
	if err != nil {
		return
	}
	x := &exchange{}
	if x.parse(c, head) == nil {
		x.ctx.Cancel(nil)
		t.Errorf("taken as %q %q of %q", x.request.Method, x.request.RequestURI, x.request.Host)
	}
}

// A long head is let go with its request.
func TestLongHeadIsNotRemembered(t *testing.T) {
	t.Parallel()
	c := &conn{s: &Server{o: Options{Context: t.Context()}}}
	head, _, err := c.lines.Parse([]byte("GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", maxKept) + "\r\n\r\n"))
	x := &exchange{}
	if err != nil || x.parse(c, head) != nil {
		t.Fatal(err)
	}
	x.ctx.Cancel(nil)
	if c.asked.first != "" {
		t.Errorf("%q is part of a text of over %d bytes", c.asked.first, maxKept)
	}
}

// What a connection remembers is bounded, whatever its client sends.
func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	var l Lines
	for i := range 1000 {
		var head strings.Builder
		head.WriteString("GET /")
		for j := range 1 + i%300 {
			fmt.Fprintf(&head, "\r\nN%d: %d %s", j, i*j%7, strings.Repeat("v", i%97))
		}
		sameAsFresh(t, &l, head.String())
		held := len(l.head.First)
		for i := range l.last {
			held += len(l.last[i].text)
		}
		if l.kept != held || l.kept > maxKept || len(l.last) > maxLines || len(l.head.Header) > maxLines {
			t.Fatalf("%d bytes, %d lines, %d headers", l.kept, len(l.last), len(l.head.Header))
		}
	}
}

// What is no head takes little more memory than it has bytes, however many lines it seems to have. It runs alone, because it
// counts what the whole process allocates.
func TestLinesMakeNoRoomForRubbish(t *testing.T) {
	buf := []byte("GET / HTTP/1.1\r\n" + strings.Repeat("\n", 64<<10) + "\r\n\r\n")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := new(Lines).Parse(buf)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; err == nil || took > 3*uint64(len(buf)) {
		t.Errorf("%d bytes took %d bytes, %v", len(buf), took, err)
	}
}

func BenchmarkParse(b *testing.B) {
	head := func(token, length int) []byte {
		return fmt.Appendf(nil, "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer %s%d\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"+
			"User-Agent: bench/1\r\nMcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: 0123456789abcdef0123456789abcdef%d\r\nContent-Length: %d\r\n\r\n", strings.Repeat("0123456789", 80), token, token, length)
	}
	for name, heads := range map[string][][]byte{
		"the same": {head(1, 1000), head(1, 1000)},
		"length":   {head(1, 1000), head(1, 1001)},
		"person":   {head(1, 1000), head(2, 1001)},
	} {
		b.Run(name, func(b *testing.B) {
			c := &conn{s: &Server{}, remote: "127.0.0.1:1234"}
			c.s.o.Context = b.Context()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				x := &exchange{}
				head, _, err := c.lines.Parse(heads[i%2])
				if err != nil || x.parse(c, head) != nil {
					b.Fatal(err)
				}
				x.ctx.Cancel(nil)
			}
		})
	}
}

// What Read has given away never changes, whatever comes over the connection later.
func TestLinesShared(t *testing.T) {
	t.Parallel()
	var (
		l     Lines
		given []http.Header
	)
	shared := func(buf []byte) (head Head, n int, err error) {
		n, err = l.Read(buf, &head)
		return head, n, err
	}
	read := func(read func([]byte) (Head, int, error), value string) http.Header {
		head, n, err := read([]byte("HTTP/1.1 200 OK\r\nX: " + value + "\r\nY: z\r\n\r\n"))
		if n == 0 || err != nil {
			t.Fatal(n, err)
		}
		return head.Header
	}
	for range 2 {
		given = append(given, read(shared, "1"), read(shared, "1"))
		read(l.Parse, "1").Set("X", "changed")
		read(l.Parse, "2").Set("X", "changed")
		if h := read(shared, "3"); h.Get("X") != "3" {
			t.Errorf("the third says %q", h)
		}
	}
	for _, h := range given {
		if h.Get("X") != "1" || h.Get("Y") != "z" || len(h) != 2 {
			t.Errorf("a head that was given away has become %q", h)
		}
	}
}
