package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

// Many servers ask their client on the listening stream, also within a call. It stands before the first call is sent, so
// that no question is lost.
func TestFirstCallCanBeAskedOnTheStream(t *testing.T) {
	t.Parallel()
	server := testkit.NewMCPServer(t)
	server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		n := server.PushTo(c.Session, `{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"sure?"}}`)
		c.Result(fmt.Sprintf(`{"content":[{"type":"text","text":"asked %d"}]}`, n))
	})
	tg := started(t, Options{HTTP: &HTTPOptions{URL: server.URL}})
	for range 20 {
		r := newRecorder()
		r.answer = func(context.Context, *mcp.Message) ([]byte, *mcp.Error) { return []byte(`{"action":"cancel"}`), nil }
		conn := connected(t, tg, Caller{Principal: person("ada"), Revision: mcp.Latest, Capabilities: []byte(`{"elicitation":{}}`)}, r)
		result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("ask", `,"arguments":{}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := textOf(t, result); got != "asked 1" {
			t.Fatalf("%s", got)
		}
		receive(t, r.asked, "the question")
	}
}

// A server of the stateless era that refuses our revision and says that it knows it is asked once more.
func TestServerThatRefusesItsOwnRevision(t *testing.T) {
	t.Parallel()
	modern := statelessServer(t)
	var discoveries atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		m, err := mcp.Decode(body, mcp.Limits{})
		if err != nil || m.Method != mcp.MethodDiscover || discoveries.Add(1) > 1 {
			modern.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"which?","data":{"supported":["2026-07-28"],"requested":"x"}}}`, m.ID)
	}))
	t.Cleanup(s.Close)
	tg := started(t, Options{HTTP: &HTTPOptions{URL: s.URL}})
	catalog, err := tg.Catalog(t.Context())
	if err != nil || catalog.Revision != mcp.Rev20260728 || len(catalog.Tools) != 1 {
		t.Fatalf("catalogue %+v, %v", catalog, err)
	}
}

// noCredential is a client that cannot get a credential for the target.
type noCredential struct{}

func (noCredential) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, noCredential{}
}

func (noCredential) Error() string { return "the authorization server is away" }

func (noCredential) CredentialRefused() bool { return true }

// A missing credential is told apart from a target that is down.
func TestNoCredential(t *testing.T) {
	t.Parallel()
	tg := started(t, Options{HTTP: &HTTPOptions{URL: "http://127.0.0.1:1/mcp"}, Client: &http.Client{Transport: noCredential{}}})
	_, err := tg.Connect(t.Context(), Caller{Principal: person("ada"), Revision: mcp.Latest}, newRecorder())
	trouble, ok := errors.AsType[*Trouble](err)
	if !ok || trouble.Kind != CredentialRefused || !errors.Is(err, noCredential{}) {
		t.Errorf("error %v", err)
	}
}
