package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/internal/identity"
	"gatehouse/internal/seal"
	"gatehouse/internal/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func masterKey() []byte {
	k := make([]byte, seal.KeySize)
	rand.Read(k)
	return k
}

func keyring(t testing.TB, masters ...[]byte) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring(masters...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

type serve func(w http.ResponseWriter, r *http.Request, who *identity.Principal, endpoint string)

// copyOf starts a copy; nil answers nothing.
func copyOf(t *testing.T, keys *seal.Keyring, origin string, s serve) *Copies {
	t.Helper()
	var listen net.ListenConfig
	free, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	if s == nil {
		s = func(http.ResponseWriter, *http.Request, *identity.Principal, string) { t.Error("a request came") }
	}
	c, err := New(Options{Keys: keys, Origin: origin, Listen: address, Address: address, Serve: s})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

const origin = "https://tools.example"

func ada() *identity.Principal {
	return &identity.Principal{
		Key: identity.PersonKey{Issuer: "https://idp.example", Subject: "ada"}, Client: "client", Scopes: identity.Scopes{"a", "b"},
		Claims: identity.Claims{"n": 1.5, "groups": []any{"eng", "sre"}, "deep": map[string]any{"x": true, "none": nil}}, Grant: "grant",
		Service: true, Authorizer: "okta", IssuedAt: time.Unix(1, 5).UTC(), Expires: time.Unix(2, 0).UTC(),
	}
}

// A request arrives as it was, for the person who was verified, without the token; the answer comes back as it is written.
func TestHandOn(t *testing.T) {
	t.Parallel()
	keys := keyring(t, masterKey())
	more := make(chan struct{})
	owner := copyOf(t, keys, origin, func(w http.ResponseWriter, r *http.Request, who *identity.Principal, endpoint string) {
		body, _ := io.ReadAll(r.Body)
		want := http.Header{"Accept": {"a", "b"}, "Content-Type": {"application/json"}, "Mcp-Session-Id": {"s"}, "Mcp-Param-X": {"1"}, "Last-Event-Id": {"7"}}
		if !reflect.DeepEqual(who, ada()) || endpoint != "/x/mcp" || r.Method != http.MethodPost || r.URL.Path != "/x/mcp" || r.URL.RawQuery != "sessionId=q" ||
			!reflect.DeepEqual(r.Header, want) || string(body) != "the body" || web.RequestID(r.Context()) != "id" || web.ClientIP(r) != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("got %+v %s %s %v %s %q %s %s", who, endpoint, r.Method, r.URL, r.Header, body, web.RequestID(r.Context()), web.ClientIP(r))
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "first")
		http.NewResponseController(w).Flush()
		<-more
		io.WriteString(w, "second")
	})
	taker := copyOf(t, keys, origin, nil)
	resp, err := taker.HandOn(t.Context(), &Request{
		Owner: owner.Self(), Principal: ada(), Endpoint: "/x/mcp", Method: http.MethodPost, Query: "sessionId=q", Body: []byte("the body"), ID: "id", Client: netip.MustParseAddr("192.0.2.7"),
		Header: http.Header{"Authorization": {"Bearer secret"}, "Cookie": {"c"}, "X-Forwarded-For": {"1"}, "Origin": {"o"}, "Accept": {"a", "b"}, "Content-Type": {"application/json"},
			"Mcp-Session-Id": {"s"}, "Mcp-Param-X": {"1"}, "Last-Event-Id": {"7"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" || resp.StatusCode != http.StatusTeapot {
		t.Fatalf("%d %s %v", resp.StatusCode, first, err)
	}
	close(more)
	if rest, err := io.ReadAll(resp.Body); string(rest) != "second" || err != nil {
		t.Errorf("%s %v", rest, err)
	}
}

// The end of the client's connection reaches the owner.
func TestHandOnIsCancelled(t *testing.T) {
	t.Parallel()
	keys := keyring(t, masterKey())
	began, ended := make(chan struct{}), make(chan struct{})
	owner := copyOf(t, keys, origin, func(w http.ResponseWriter, r *http.Request, _ *identity.Principal, _ string) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	taker := copyOf(t, keys, origin, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if resp, err := taker.HandOn(ctx, request(owner.Self())); err == nil {
		resp.Body.Close()
		t.Error("an answer came")
	}
	<-ended
}

func request(owner string) *Request {
	return &Request{Owner: owner, Principal: ada(), Endpoint: "/mcp", Method: http.MethodPost}
}

func ok(w http.ResponseWriter, _ *http.Request, _ *identity.Principal, _ string) {
	w.WriteHeader(http.StatusOK)
}

// Copies that have the newest or the older master key of two meet under the one that both have; strangers never do.
func TestWhoAreCopies(t *testing.T) {
	t.Parallel()
	now, before, foreign := masterKey(), masterKey(), masterKey()
	both, newest, oldest := keyring(t, now, before), keyring(t, now), keyring(t, before)
	for _, c := range []struct {
		name         string
		taker, owner *seal.Keyring
		origin       string
		good         bool
	}{
		{"the same", newest, newest, origin, true},
		{"one has the next already", both, oldest, origin, true},
		{"the other has it", oldest, both, origin, true},
		{"one has given up the former", newest, both, origin, true},
		{"nothing in common", newest, oldest, origin, false},
		{"another installation", keyring(t, foreign), newest, origin, false},
		{"a clone that serves another origin", newest, newest, "https://staging.example", false},
	} {
		owner := copyOf(t, c.owner, c.origin, ok)
		if !c.good {
			owner = copyOf(t, c.owner, c.origin, nil)
		}
		resp, err := copyOf(t, c.taker, origin, nil).HandOn(t.Context(), request(owner.Self()))
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

// Whoever does not know the master key gets no answer, whatever they send, and cannot pass for a copy.
func TestStrangersAtTheInternalAddress(t *testing.T) {
	t.Parallel()
	c := copyOf(t, keyring(t, masterKey()), origin, nil)
	mine, err := membersOf(keyring(t, masterKey()), origin)
	if err != nil {
		t.Fatal(err)
	}
	stolenName := mine[0].config() // asks for the right member, and shows another key
	stolenName.ServerName, stolenName.VerifyConnection = c.members[0].name, nil
	for name, config := range map[string]*tls.Config{
		"no certificate":      {InsecureSkipVerify: true, ServerName: c.members[0].name},
		"TLS 1.2":             {InsecureSkipVerify: true, ServerName: c.members[0].name, MaxVersion: tls.VersionTLS12, Certificates: mine[0].config().Certificates},
		"no name":             {InsecureSkipVerify: true, Certificates: mine[0].config().Certificates},
		"another certificate": stolenName,
	} {
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		body, _ := request(c.Self()).encode()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+c.o.Address+path, bytes.NewReader(body))
		if resp, err := transport.RoundTrip(r); err == nil {
			resp.Body.Close()
			t.Errorf("%s: HTTP status %d", name, resp.StatusCode)
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", c.o.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	if answer, _ := io.ReadAll(conn); bytes.Contains(answer, []byte("HTTP/1.1 2")) || bytes.Contains(answer, []byte(headerOwner)) {
		t.Errorf("plain http: %s", answer)
	}
	// A server that is no copy: nothing of the request goes there.
	fake, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: mine[0].config().Certificates})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan int, 10)
	go func() {
		for {
			conn, err := fake.Accept()
			if err != nil {
				close(got)
				return
			}
			all, _ := io.ReadAll(conn)
			conn.Close()
			got <- len(all)
		}
	}()
	if _, err := c.HandOn(t.Context(), request("name@"+fake.Addr().String())); !errors.Is(err, ErrGone) {
		t.Errorf("a server that is no copy: %v", err)
	}
	fake.Close()
	for n := range got {
		if n > 0 {
			t.Errorf("%d bytes went to a stranger", n)
		}
	}
}

// A copy that was stopped, or started anew at the same address, is gone.
func TestGone(t *testing.T) {
	t.Parallel()
	keys := keyring(t, masterKey())
	taker, successor := copyOf(t, keys, origin, nil), copyOf(t, keys, origin, nil)
	for name, owner := range map[string]string{
		"its successor":     "former@" + successor.o.Address,
		"nobody is there":   "former@127.0.0.1:1",
		"no such host":      "former@host.invalid:7443",
		"no address":        "former",
		"nothing at all":    "",
		"not an address":    "former@http://x/",
		"an empty address":  "former@",
		"a name of its own": "@" + successor.o.Address,
	} {
		if _, err := taker.HandOn(t.Context(), request(owner)); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A copy that is lost after it was given the request may have executed it.
func TestLostOnTheWay(t *testing.T) {
	t.Parallel()
	keys := keyring(t, masterKey())
	owner := copyOf(t, keys, origin, func(w http.ResponseWriter, _ *http.Request, _ *identity.Principal, _ string) {
		panic(http.ErrAbortHandler)
	})
	taker := copyOf(t, keys, origin, nil)
	for range 2 { // the second one finds a connection in the pool
		if _, err := taker.HandOn(t.Context(), request(owner.Self())); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%v", err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	keys := keyring(t, masterKey())
	good := Options{Keys: keys, Origin: origin, Listen: ":1", Address: "x:1", Serve: ok}
	for name, change := range map[string]func(*Options){
		"keys": func(o *Options) { o.Keys = nil }, "origin": func(o *Options) { o.Origin = "" }, "listen": func(o *Options) { o.Listen = "" },
		"address": func(o *Options) { o.Address = "" }, "odd address": func(o *Options) { o.Address = "a@b:1" }, "serve": func(o *Options) { o.Serve = nil },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	a, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := New(good); a.Self() == b.Self() || !strings.HasSuffix(a.Self(), "@x:1") {
		t.Errorf("%s and %s", a.Self(), b.Self())
	}
}

func FuzzEnvelope(f *testing.F) {
	q := request("o@x:1")
	q.Body, q.Header = []byte("body"), http.Header{"Mcp-Name": {"n"}}
	good, err := q.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		e, err := readEnvelope(r)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r)
		again, err := (&Request{Owner: e.Owner, Principal: e.Principal, Endpoint: e.Endpoint, Method: e.Method, Query: e.Query, Header: e.Header, Body: body, ID: e.ID, Client: e.Client}).encode()
		if err != nil {
			t.Skip() // grew beyond the bound, or holds what was not UTF-8
		}
		if f, err := readEnvelope(bytes.NewReader(again)); err != nil || f.Principal.Key != e.Principal.Key || f.Owner != e.Owner {
			t.Fatalf("%+v became %+v %v", e, f, err)
		}
	})
}

func TestReach(t *testing.T) {
	t.Parallel()
	keys := keyring(t, masterKey())
	c := copyOf(t, keys, "https://one.example", nil)
	for name, tc := range map[string]struct {
		keys            *seal.Keyring
		origin, address string
		fits            bool
	}{
		"a copy":         {keys, "https://one.example", c.o.Address, true},
		"another key":    {keyring(t, masterKey()), "https://one.example", c.o.Address, false},
		"another origin": {keys, "https://two.example", c.o.Address, false},
		"nobody":         {keys, "https://one.example", "127.0.0.1:1", false},
	} {
		if err := Reach(t.Context(), tc.keys, tc.origin, tc.address); (err == nil) != tc.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}
