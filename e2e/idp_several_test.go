//go:build e2e

package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// refreshTogether has clients of one person refresh at the same time, again and again, at an IdP that rotates its refresh
// token and takes the use of an old one for theft.
func refreshTogether(t *testing.T, at place, p *idp) {
	t.Helper()
	names := []string{"laptop", "desktop"}
	startEnterprise(t, at, enterprise{
		signIn: "  idp_recheck: 1s", rest: houseClients(at, names...), providers: map[string]string{p.name: p.settings},
	}, p)
	var clients []*codeClient
	var tokens []*oauth2.Token
	for _, name := range names {
		c := houseClient(at, name)
		clients, tokens = append(clients, c), append(tokens, c.signIn(t, p.through(username)))
	}
	for round := range 4 {
		<-time.After(1100 * time.Millisecond) // until the IdP's word is old, by the real clock of another process
		var wait sync.WaitGroup
		for i, c := range clients {
			wait.Go(func() {
				next, refused := c.refresh(t, tokens[i])
				if refused != nil {
					t.Errorf("round %d: %s is refused: %v", round, names[i], refused)
					return
				}
				tokens[i] = next
			})
		}
		wait.Wait()
	}
	for i, token := range tokens {
		if status := newCaller(t, at.house+"/mcp").initialize(token.AccessToken); status != http.StatusOK {
			t.Errorf("%s gets %d", names[i], status)
		}
	}
}

// severalIDPs has two IdPs at one Gatehouse: both are offered, an e-mail address leads to the second, people of the same
// name stay two, and what one IdP says cannot be brought to the other's callback.
func severalIDPs(t *testing.T, at place, first, second *idp) {
	t.Helper()
	h := startEnterprise(t, at, enterprise{
		rest: houseClients(at, "laptop"), providers: map[string]string{second.name: "      email_domains: [example.com]"},
	}, first, second)
	laptop := houseClient(at, "laptop")
	subjects := map[string]string{}
	for _, p := range []*idp{first, second} {
		token := laptop.signIn(t, p.through(username))
		claims := claimsOf(t, token.AccessToken)
		if claims["idp"] != p.name {
			t.Errorf("the token of somebody who signed in at %s says idp %v", p.name, claims["idp"])
		}
		subjects[p.name], _ = claims["sub"].(string)
	}
	if subjects[first.name] == subjects[second.name] {
		t.Errorf("%s of two IdPs is one person", username)
	}

	address := laptop.config.AuthCodeURL("state", append(laptop.target(), oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))...)
	byAddress := append([]formPage{{Fields: map[string]string{"address": username + "@EXAMPLE.com"}}}, second.through(username)...)
	pages := walk(t, "several", address, at.house, byAddress[:len(byAddress)-1]).texts
	for _, want := range []string{first.label, second.label, "E-mail address"} {
		if !strings.Contains(pages[0], want) {
			t.Errorf("the sign-in page does not offer %q:\n%s", want, pages[0])
		}
	}
	if strings.Contains(pages[1], "Continue with "+first.label) || !strings.Contains(pages[1], "Continue with "+second.label) {
		t.Errorf("the address leads to:\n%s", pages[1])
	}

	mixUp(t, at, address, first, second)
	mixUp(t, at, address, second, first)
	h.logged(t, "oauth/callback")
}

// mixUp signs in at one IdP, whose answer then reaches the callback of another.
func mixUp(t *testing.T, at place, address string, from, to *idp) {
	t.Helper()
	b := newIDPBrowser(t)
	b.Client.Transport = diverted{from: "/oauth/callback/" + from.name, to: "/oauth/callback/" + to.name}
	page := b.Open(address)
	for _, p := range append([]formPage{{Press: from.name}}, from.pages(username)...) {
		page = b.Submit(page, p.Press, p.Fields)
	}
	if page.Status/100 != 4 || page.URL.Query().Get("code") == "" {
		t.Errorf("the answer of %s at the callback of %s leads to %s, want a refusal:\n%s", from.name, to.name, page, page.Text)
	}
	if account := b.Open(at.house + "/account"); strings.Contains(account.Text, username+"@example.com") {
		t.Errorf("the answer of %s at the callback of %s signed somebody in", from.name, to.name)
	}
}

// diverted is a network in which requests for one path arrive at another.
type diverted struct{ from, to string }

func (d diverted) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == d.from {
		there := *r
		there.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: d.to, RawQuery: r.URL.RawQuery}
		r = &there
	}
	return http.DefaultTransport.RoundTrip(r)
}
