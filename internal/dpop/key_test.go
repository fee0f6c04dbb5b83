package dpop_test

import (
	"net/url"
	"testing"
	"time"

	"gatehouse/internal/dpop"
)

// What we make as a client, we accept as a server.
func TestKeyMakesProofs(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	key, err := dpop.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	to, _ := url.Parse("https://tools.example/mcp?q=1#f")
	text, err := key.Proof(dpop.Made{Method: "POST", URL: to, Token: "token", Nonce: "n-1", Body: []byte(`{"a":1}`)}, now)
	if err != nil {
		t.Fatal(err)
	}
	p, err := dpop.Read([]string{text})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(dpop.Request{Method: "POST", URL: "https://tools.example/mcp", Token: "token"}, now); err != nil {
		t.Error(err)
	}
	if err := p.CheckBody([]byte(`{"a":1}`)); err != nil || !p.HasDigest() {
		t.Errorf("%v, digest %v", err, p.HasDigest())
	}
	for _, wrong := range []dpop.Request{
		{Method: "GET", URL: "https://tools.example/mcp", Token: "token"},
		{Method: "POST", URL: "https://tools.example/other", Token: "token"},
		{Method: "POST", URL: "https://tools.example/mcp", Token: "another"},
	} {
		if p.Check(wrong, now) == nil {
			t.Errorf("the proof goes with %+v, too", wrong)
		}
	}
	if p.CheckBody([]byte(`{"a":2}`)) == nil {
		t.Error("the proof goes with another body, too")
	}
	again, err := key.Proof(dpop.Made{Method: "POST", URL: to}, now)
	if err != nil {
		t.Fatal(err)
	}
	q, err := dpop.Read([]string{again})
	if err != nil {
		t.Fatal(err)
	}
	if q.Key != p.Key || q.ID == p.ID || q.HasDigest() {
		t.Errorf("second proof: key %s, id %s, digest %v", q.Key, q.ID, q.HasDigest())
	}
}
