package target

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

// lateReader is a transport that reads the bodies of requests when it has answered them, as one over HTTP/2 may.
type lateReader struct {
	http.RoundTripper
	mu   sync.Mutex // guards what follows
	late []*http.Request
}

func (l *lateReader) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost {
		return l.RoundTripper.RoundTrip(r)
	}
	again, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	copied := *r
	copied.Body = again
	l.mu.Lock()
	l.late = append(l.late, r)
	l.mu.Unlock()
	return l.RoundTripper.RoundTrip(&copied)
}

// A request's bytes are nobody else's for as long as the transport has not closed its body.
func TestBodiesLastUntilTheyAreClosed(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]http.Handler{"session": testkit.NewMCPServer(t), "stateless": statelessServer(t)} {
		late := &lateReader{RoundTripper: NewHTTPClient().Transport}
		front := httptest.NewServer(s)
		t.Cleanup(func() {
			front.CloseClientConnections()
			front.Close()
		})
		conn := connected(t, started(t, Options{HTTP: &HTTPOptions{URL: front.URL}, Client: &http.Client{Transport: late}}), Caller{Principal: person("ada"), Revision: mcp.Latest}, newRecorder())
		const calls = 20
		for i := range calls {
			if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", fmt.Sprintf(`,"arguments":{"n":"call %d of %d"}`, i, calls)), nil); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		late.mu.Lock()
		seen := map[string]bool{}
		for _, r := range late.late {
			body, err := io.ReadAll(r.Body)
			if _, err := mcp.Decode(body, mcp.Limits{}); err != nil {
				t.Errorf("%s: %q: %v", name, body, err)
			}
			if i := strings.Index(string(body), "call "); i >= 0 {
				seen[string(body[i:])] = true
			}
			if err != nil || int64(len(body)) != r.ContentLength {
				t.Errorf("%s: %d bytes of %d, %v", name, len(body), r.ContentLength, err)
			}
			_, _ = r.Body.Close(), r.Body.Close()
			if n, err := r.Body.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%s: a closed body still gives %d bytes, %v", name, n, err)
			}
		}
		late.mu.Unlock()
		if len(seen) != calls {
			t.Errorf("%s: the bodies of %d calls of %d were as they had been sent", name, len(seen), calls)
		}
	}
}

func TestParcels(t *testing.T) {
	t.Parallel()
	var all parcels
	one := all.lend(&parcel{})
	body := &sent{whole: one.buf, in: one}
	body.give(&web.RequestHead{})
	r := &body.request
	again, err := r.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	one.Release()
	_ = r.Body.Close()
	if !one.hold() {
		t.Fatal("the buffer went back while somebody had a body")
	}
	one.Release()
	_ = again.Close()
	_ = again.Close()
	if n := one.holders.Load(); n != 0 || one.hold() {
		t.Errorf("%d holders are left", n)
	}
	if _, err := r.GetBody(); err == nil {
		t.Error("a body of a buffer that went back")
	}
}
