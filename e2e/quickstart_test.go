//go:build e2e

package e2e

import (
	"encoding/json"
	"testing"

	"gatehouse/internal/testkit"
)

// The first five minutes of a newcomer: one command, the printed user, plain mcp-remote, the demo's whoami.
func TestQuickstartWithMCPRemote(t *testing.T) {
	h, user, pass := quickstart(t)
	r := startRemote(t, t.TempDir(), h.url+"/mcp")
	w := r.beginInitialize()
	testkit.NewBrowser(t).SignIn(r.authorizeURL(), user, pass)
	r.finishInitialize(w)
	var who struct {
		Username string         `json:"username"`
		Claims   map[string]any `json:"claims"`
	}
	if err := json.Unmarshal([]byte(r.tool("demo___whoami", map[string]any{})), &who); err != nil {
		t.Fatalf("whoami is not JSON: %v", err)
	}
	if who.Claims["preferred_username"] != user || who.Claims["aud"] == nil {
		t.Errorf("whoami knows %v, want preferred_username %s among the claims", who.Claims, user)
	}
	if got := r.tool("demo___add", map[string]any{"a": 2, "b": 3}); got != "5" {
		t.Errorf("add says %q", got)
	}
}
