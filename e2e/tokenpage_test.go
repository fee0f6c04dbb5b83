//go:build e2e

package e2e

import (
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"
)

// An administrator pastes a token in Chromium, and sees why it is refused; pictures of the page as a person sees it.
func TestTokenPageInChromium(t *testing.T) {
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Fatal("chromium is not installed; run e2e/install.sh")
	}
	h, user, pass := quickstart(t)
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	idToken := part(`{"alg":"RS256","kid":"k1","typ":"JWT"}`) + "." +
		part(`{"iss":"https://acme.okta.com/oauth2/default","sub":"alice","aud":"0oa1","nonce":"n","at_hash":"h","iat":1700000000,"exp":1700003600}`) + ".c2ln"
	w := walk(t, "tokenpage", h.url+"/account", h.url, []formPage{
		{map[string]string{"username": user, "password": pass}, ""},
		{nil, "Check a token"},
		{map[string]string{"token": idToken}, "Check"},
		{map[string]string{"token": "gho_16C7e42F292c6912E7710c838347Ae178B4a"}, "Check"},
	})
	if len(w.texts) != 5 {
		t.Fatalf("saw %d pages", len(w.texts))
	}
	for i, want := range map[int][]string{
		2: {"Check a token", "forgotten"},
		3: {"unknown_issuer", "Likely cause", "only Gatehouse's own", "issuer"},
		4: {"token_malformed", "this is a token of GitHub"},
	} {
		for _, text := range want {
			if !strings.Contains(w.texts[i], text) {
				t.Errorf("page %d does not show %q:\n%s", i+1, text, w.texts[i])
			}
		}
		if strings.Contains(w.texts[i], "c2ln") || strings.Contains(w.texts[i], "16C7e42F") {
			t.Errorf("page %d shows the token", i+1)
		}
	}
}
