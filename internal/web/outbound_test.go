package web

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/testkit"
)

func TestChecklist11_Addresses(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]struct{ public, admin bool }{
		"8.8.8.8":                {true, true},
		"2606:4700::1111":        {true, true},
		"127.0.0.1":              {false, true},
		"127.255.0.1":            {false, true},
		"::1":                    {false, true},
		"10.0.0.1":               {false, true},
		"172.16.0.1":             {false, true},
		"172.32.0.1":             {true, true},
		"192.168.1.1":            {false, true},
		"100.64.0.1":             {false, true},
		"100.128.0.1":            {true, true},
		"fc00::1":                {false, true},
		"fd12:3456::1":           {false, true},
		"0.0.0.0":                {false, false},
		"::":                     {false, false},
		"0.1.2.3":                {false, true},
		"169.254.169.254":        {false, false},
		"169.254.170.2":          {false, false},
		"fe80::1":                {false, false},
		"fe80::a9fe:a9fe%eth0":   {false, false},
		"fd00:ec2::254":          {false, false},
		"fd20:ce::254":           {false, false},
		"100.100.100.200":        {false, false},
		"192.0.0.192":            {false, false},
		"168.63.129.16":          {false, false},
		"::ffff:8.8.8.8":         {false, true},
		"::ffff:10.0.0.1":        {false, true},
		"::ffff:169.254.169.254": {false, false},
		"::169.254.169.254":      {false, false},
		"64:ff9b::8.8.8.8":       {false, true},
		"64:ff9b::a9fe:a9fe":     {false, false},
		"64:ff9b:1::a9fe:a9fe":   {false, false},
		"2002:a9fe:a9fe::1":      {false, false},
		"2002:808:808::1":        {false, true},
		"2001::1":                {false, true}, // Teredo
		"2001:db8::1":            {false, true},
		"3fff::1":                {false, true},
		"fec0::1":                {false, true}, // the old site-local range
		"224.0.0.1":              {false, false},
		"ff02::1":                {false, false},
		"255.255.255.255":        {false, true},
		"192.0.2.1":              {false, true},
		"198.18.0.1":             {false, true},
		"203.0.113.1":            {false, true},
		"240.0.0.1":              {false, true},
	} {
		a := netip.MustParseAddr(addr)
		if err := FencePublic.check(a); (err == nil) != want.public || err != nil && !errors.Is(err, ErrFenced) {
			t.Errorf("public fence, %s: %v", addr, err)
		}
		if err := FenceAdmin.check(a); (err == nil) != want.admin || err != nil && !errors.Is(err, ErrFenced) {
			t.Errorf("admin fence, %s: %v", addr, err)
		}
		if Fence(0).check(a) == nil {
			t.Error("the zero fence lets through")
		}
	}
}

func FuzzFence(f *testing.F) {
	f.Add("169.254.169.254")
	f.Add("::ffff:127.0.0.1")
	f.Add("64:ff9b::7f00:1")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		if FencePublic.check(a) == nil && (!a.IsGlobalUnicast() || a.IsPrivate() || a.Is4In6() || FenceAdmin.check(a) != nil) {
			t.Errorf("%s passed the public fence", a)
		}
	})
}

func TestChecklist11_NamesThatLeadInside(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	inside := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	pool := x509.NewCertPool()
	pool.AddCert(inside.Certificate())

	for name, url := range map[string]string{
		"name":           "https://example.com:" + port,
		"literal":        "https://127.0.0.1:" + port,
		"IPv6 literal":   "https://[::1]:" + port,
		"mapped":         "https://[::ffff:127.0.0.1]:" + port,
		"plain http":     "http://example.com:" + port,
		"http literal":   "http://127.0.0.1:" + port,
		"other protocol": "ftp://example.com:" + port,
	} {
		c := NewClient(FencePublic, ClientOptions{RootCAs: pool, Resolver: testkit.Resolver(t, "127.0.0.1")})
		if _, err := c.Get(url); !errors.Is(err, ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if reached.Load() != 0 {
		t.Error("a request arrived inside")
	}
	c := NewClient(FenceAdmin, ClientOptions{RootCAs: pool, Resolver: testkit.Resolver(t, "127.0.0.1")})
	resp, err := c.Get("https://example.com:" + port)
	if err != nil {
		t.Fatalf("the administrator's own name: %v", err)
	}
	resp.Body.Close()
	c.CloseIdleConnections()
	for _, url := range []string{"http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://[::ffff:169.254.169.254]/"} {
		if _, err := c.Get(url); !errors.Is(err, ErrFenced) {
			t.Errorf("%s: %v", url, err)
		}
	}
	c = NewClient(FenceAdmin, ClientOptions{Resolver: testkit.Resolver(t, "169.254.169.254")})
	if _, err := c.Get("http://metadata.example/"); !errors.Is(err, ErrFenced) {
		t.Errorf("a name for the metadata address: %v", err)
	}
}

func TestChecklist11_Rebinding(t *testing.T) {
	t.Parallel()
	// The name is public when somebody looks, and inside when the client dials: the check looks at what is dialled.
	resolver := testkit.Resolver(t, "8.8.8.8", "127.0.0.1")
	first, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example")
	if err != nil || FencePublic.check(first[0]) != nil {
		t.Fatalf("first look: %v %v", first, err)
	}
	c := NewClient(FencePublic, ClientOptions{Resolver: resolver})
	if _, err := c.Get("https://rebind.example/client.json"); !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("after rebinding: %v", err)
	}
}

func TestChecklist11_ProxySettings(t *testing.T) {
	t.Parallel()
	if NewClient(FencePublic, ClientOptions{}).Transport.(*guard).next.Proxy != nil {
		t.Error("the public fence would go through a proxy, which dials for us")
	}
	if NewClient(FenceAdmin, ClientOptions{}).Transport.(*guard).next.Proxy == nil {
		t.Error("the administrator's proxy is ignored")
	}
}

func TestChecklist12_Redirects(t *testing.T) {
	t.Parallel()
	var other *httptest.Server
	main := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	}))
	defer main.Close()
	other = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	c := NewClient(FenceAdmin, ClientOptions{})
	defer c.CloseIdleConnections()
	resp, err := c.Get(main.URL + "/same")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, path := range []string{"/other", "/metadata"} {
		if _, err := c.Get(main.URL + path); !errors.Is(err, ErrFenced) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := c.Get(main.URL + "/loop"); err == nil || !strings.Contains(err.Error(), "5 redirects") {
		t.Errorf("loop: %v", err)
	}
	r := httptest.NewRequest("GET", "https://a.example/b", nil)
	if err := FencePublic.checkRedirect(r, []*http.Request{r}); !errors.Is(err, ErrFenced) {
		t.Errorf("public: %v", err)
	}
}

func TestClientsHaveLimits(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/headers" {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxResponseHeader))
		}
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asks for compression: %q", r.Header.Get("Accept-Encoding"))
		}
		_, _ = io.WriteString(w, "0123456789")
	}))
	defer s.Close()
	for _, c := range []*http.Client{NewClient(FenceAdmin, ClientOptions{}), NewTargetClient(ClientOptions{})} {
		if _, err := c.Get(s.URL + "/headers"); err == nil {
			t.Error("a huge answer header was taken")
		}
		for max, want := range map[int64]error{9: ErrBodyTooLarge, 10: nil} {
			resp, err := c.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			b, err := ReadAll(resp.Body, max)
			resp.Body.Close()
			if !errors.Is(err, want) || err == nil && string(b) != "0123456789" {
				t.Errorf("limit %d: %q %v", max, b, err)
			}
		}
		c.CloseIdleConnections()
	}
	if NewClient(FencePublic, ClientOptions{}).Timeout != 5*time.Second || NewTargetClient(ClientOptions{}).Timeout != 0 {
		t.Error("timeouts")
	}
	if t1 := NewTargetClient(ClientOptions{}).Transport.(*wire).std.(*guard).next; t1.MaxIdleConnsPerHost != 2048 || t1.MaxIdleConns != 0 || t1.TLSClientConfig.MinVersion != tls.VersionTLS12 {
		t.Error("the pool for targets is small")
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{
		taken.Addr().String():  "listen in the configuration file; without one, --listen",
		"192.0.2.1:8080":       "this machine has no such address",
		"8080":                 "write it as host:port",
		"127.0.0.1:http-alt-x": "check the host name and the port",
	} {
		s, err := NewServer(ServerOptions{Listen: address, Log: discard()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestLimiterUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewRateLimiter(RateOptions{Every: time.Second, Burst: 5, Keys: 50, Now: time.Now})
		var granted atomic.Int32
		for i := range 100 {
			go func() {
				for range 10 {
					if ok, _ := l.Allow("one"); ok {
						granted.Add(1)
					}
					l.Allow(fmt.Sprint(i % 40))
				}
			}()
		}
		synctest.Wait()
		if granted.Load() != 5 {
			t.Errorf("%d uses granted, want 5", granted.Load())
		}
	})
}
