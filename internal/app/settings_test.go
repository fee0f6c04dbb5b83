package app

import (
	"net/http"
	"strings"
	"testing"
)

const twoDoors = `targets: {demo: {demo: true}}
endpoints: {/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}}
`

// bodyOf fetches a page as a stranger.
func (h *house) bodyOf(path string) (status int, body string) {
	h.t.Helper()
	w, err := http.Get(h.url + path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer w.Body.Close()
	var b strings.Builder
	if err := w.Write(&b); err != nil {
		h.t.Fatal(err)
	}
	return w.StatusCode, b.String()
}

func TestPasskeysAndUsersCanBeOff(t *testing.T) {
	t.Parallel()
	h := openHouse(t, twoDoors)
	if status, body := h.bodyOf("/signin"); status != http.StatusOK || !strings.Contains(body, "passkey-form") {
		t.Errorf("to begin with: %d, want a form with a passkey", status)
	}
	for name, settings := range map[string]string{
		"passkeys":          "sign_in: {passkeys: false}\n",
		"session":           "sign_in: {session: {idle: 5m}}\n",
		"registration rate": "registration: {rate_per_minute: 1}\n",
	} {
		if h.reload(twoDoors + settings) {
			t.Errorf("%s: a reload was said to take effect, and cannot", name)
		}
	}
	h.stop()
	h.configure(twoDoors + "sign_in: {passkeys: false}\n")
	h.start()
	if status, body := h.bodyOf("/signin"); status != http.StatusOK || strings.Contains(body, "passkey-form") {
		t.Errorf("passkeys off: %d, want a form without one", status)
	}
	h.stop()
	h.configure(strings.ReplaceAll(twoDoors, "[gatehouse]", "[other]") + `sign_in: {users: false}
authorizers: [{name: other, discovery_url: "http://localhost:9/.well-known/openid-configuration", allowed_audience: [a]}]
`)
	h.start()
	if status, _ := h.bodyOf("/signin"); status != http.StatusNotFound {
		t.Errorf("users off: %d, want no page to sign in", status)
	}
}
