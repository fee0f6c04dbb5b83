package gateway

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/internal/target"
)

// keeper is the writer of an HTTP/2 server whose client resets its stream: Write returns, and the server still reads
// what it was given.
type keeper struct {
	*httptest.ResponseRecorder
	kept [][]byte
}

func (k *keeper) Write(p []byte) (int, error) {
	k.kept = append(k.kept, p)
	return len(p), nil
}

// What a server for HTTP/2 may still have in its hands does not turn into the answer to somebody else.
func TestAnswersOverHTTP2AreNobodyElses(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "up")
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{made}, Prefix: true}}})
	ada, bob := s.caller("ada-token").initialize(`{}`), s.caller("bob-token").initialize(`{}`)
	call := func(who string) string {
		return `{"jsonrpc":"2.0","id":"` + who + `","method":"tools/call","params":{"name":"up___echo","arguments":{"who":"` + who + `"}}}`
	}
	for _, asked := range []string{call("ada"), `{"jsonrpc":"2.0","id":"ada","method":"tools/list"}`} {
		r := ada.request(t.Context(), http.MethodPost, asked)
		r.ProtoMajor, r.ProtoMinor, r.RequestURI = 2, 0, "/mcp"
		w := &keeper{ResponseRecorder: httptest.NewRecorder()}
		s.gateway.Handler("/mcp").ServeHTTP(w, r)
		before := string(bytes.Join(w.kept, nil))
		if !strings.Contains(before, "ada") {
			t.Fatalf("%d %s", w.Code, before)
		}
		for range 20 {
			if status, body := bob.post(call("bob")); status != http.StatusOK || !strings.Contains(body, "bob") {
				t.Fatalf("%d %s", status, body)
			}
		}
		if after := string(bytes.Join(w.kept, nil)); after != before {
			t.Errorf("what was written for one: %s\nis now: %s", before, after)
		}
	}
}
