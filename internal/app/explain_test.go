package app

import (
	"context"
	"strings"
	"testing"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
)

// explain asks as the command does, beside the running server.
func (h *house) explain(path, token string) (*authn.Explanation, error) {
	h.t.Helper()
	a, err := OpenAdmin(h.t.Context(), h.config(), h.app.Log)
	if err != nil {
		h.t.Fatal(err)
	}
	defer a.Close()
	return a.Explain(context.Background(), path, token, authn.Shown{})
}

// TestExplain: the command sees the server's own keys and revocations, and the configuration as it stands in the file.
func TestExplain(t *testing.T) {
	t.Parallel()
	h := openHouse(t, `
targets:
  demo: {demo: true}
authorizers:
  - name: away
    discovery_url: http://127.0.0.1:1/.well-known/openid-configuration
    allowed_audience: [x]
    introspection: {client_id: x, client_secret: {file: master.key}}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
  /b/mcp: {issuers: [gatehouse, away], access: any_signed_in, targets: [demo]}
`)
	c := connect(h, "/mcp")
	want := func(path, token string, reason authn.Reason) {
		t.Helper()
		x, err := h.explain(path, token)
		switch {
		case err != nil:
			t.Errorf("%s: %v", path, err)
		case reason == "" && x.Refusal != nil, reason != "" && (x.Refusal == nil || x.Refusal.Reason != reason):
			t.Errorf("%s: %v, want %q", path, x.Refusal, reason)
		}
	}
	want("/mcp", c.access, "")
	want("/b/mcp", c.access, authn.WrongAudience)
	want("/b/mcp", "opaque", authn.IntrospectionFailed)
	for path, part := range map[string]string{"": "/mcp, /b/mcp", "/c": "there are /mcp"} {
		if _, err := h.explain(path, c.access); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("endpoint %q: %v", path, err)
		}
	}
	client, _ := claims(t, c.access)["client_id"].(string)
	if err := h.app.state.Store.RevokeClient(t.Context(), identity.ClientID(client), "test"); err != nil {
		t.Fatal(err)
	}
	want("/mcp", c.access, authn.TokenRevoked)
}
