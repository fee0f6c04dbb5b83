//go:build e2e

package e2e

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/internal/testkit"
)

// refreshTogether has clients of one person refresh at the same time, again and again, at an IdP that rotates its refresh
// token and takes the use of an old one for theft. Several copies of Gatehouse get the requests in turn.
func refreshTogether(t *testing.T, at place, p *idp, copies int) {
	t.Helper()
	names := []string{"laptop", "desktop"}
	e := enterprise{signIn: "  idp_recheck: 1s", rest: houseClients(at, names...), providers: map[string]string{p.name: p.settings}}
	if copies == 1 {
		startEnterprise(t, at, e, p)
	} else {
		startCopies(t, at, copies, e, p)
	}
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

// signOutBoth signs in at Gatehouse's account page and out again, and then by the link of that page at the IdP: whoever comes
// next has to sign in there.
func signOutBoth(t *testing.T, at place, p *idp, confirm ...formPage) {
	t.Helper()
	startEnterprise(t, at, enterprise{providers: map[string]string{p.name: p.settings}}, p)
	b := newIDPBrowser(t)
	through := func(page testkit.Page, pages []formPage) testkit.Page {
		for _, next := range pages {
			page = b.Submit(page, next.Press, next.Fields)
		}
		return page
	}
	signIn := append([]formPage{{Press: p.name}}, p.pages(username)...)
	account := through(b.Open(at.house+"/account"), signIn)
	if account.URL.Path != "/account" || !strings.Contains(account.Text, username) {
		t.Fatalf("the sign-in leads to %s:\n%s", account, account.Text)
	}
	here := b.Submit(b.Open(at.house+"/signout"), "Sign out", nil)
	link := regexp.MustCompile(`href="(` + regexp.QuoteMeta(p.origin) + `[^"]*)"`).FindStringSubmatch(here.Text)
	if link == nil {
		t.Fatalf("the page after the sign-out does not lead to the IdP's own:\n%s", here.Text)
	}
	there := b.Open(html.UnescapeString(link[1]))
	if !strings.HasPrefix(there.URL.String(), p.origin) || there.Status != http.StatusOK {
		t.Fatalf("the link to the IdP's sign-out leads to %s:\n%s", there, there.Text)
	}
	through(there, confirm)
	if page := b.Open(at.house + "/account"); page.URL.Path != "/signin" {
		t.Errorf("after signing out the account page is %s", page)
	}
	if account := through(b.Open(at.house+"/account"), signIn); account.URL.Path != "/account" { // and each of the pages was there again
		t.Errorf("signing in again leads to %s:\n%s", account, account.Text)
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
