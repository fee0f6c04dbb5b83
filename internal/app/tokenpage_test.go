package app

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

const withAdministrators = demoOnly + `administrators: {claim: groups, type: string_array, operator: contains, value: admins}
`

// TestTokenPage: an administrator finds out about a token of the running Gatehouse; the token goes nowhere.
func TestTokenPage(t *testing.T) {
	t.Parallel()
	h := openHouse(t, withAdministrators)
	h.addUser("root", "admins")
	c := connect(h, "/mcp")
	b := testkit.NewBrowser(t)
	account := b.Password(b.Open(h.url+"/account"), "root", alicePassword)
	account.MustShow(t, "Check a token")
	form := b.Open(h.url + "/admin/tokens")
	form.MustShow(t, "Check a token", "forgotten")

	p := b.Submit(form, "", map[string]string{"token": "Bearer " + c.access + "\n"})
	p.MustShow(t, "Accepted", "by the rules of gatehouse", "signature", "not revoked")
	opaque := "gho_16C7e42F292c6912E7710c838347Ae178B4a"
	p = b.Submit(p, "", map[string]string{"token": opaque})
	p.MustShow(t, "Refused", "token_malformed", "this is a token of GitHub", "headers")
	h.admin(func(ctx context.Context, a *Admin) error { return a.SetDisabled(ctx, "alice", true) })
	h.log.await(t, 0, `"msg":"request"`)
	eventually(t, patience, "the page knows that alice is out", func() bool {
		p = b.Submit(p, "", map[string]string{"token": c.access})
		return strings.Contains(p.Text, "token_revoked")
	})
	for _, secret := range []string{opaque, c.access} {
		for where, text := range map[string]string{"the page": p.Text, "the log": h.log.String(), "the audit records": h.auditRecords(), "the address": p.URL.String()} {
			if strings.Contains(text, secret) || strings.Contains(text, secret[len(secret)-20:]) {
				t.Errorf("the token is in %s", where)
			}
		}
	}
}

// Who is no administrator any more at their identity provider loses the page as they lose their tokens.
func TestTokenPageOfAFormerAdministrator(t *testing.T) {
	t.Parallel()
	settings := oneEndpoint + "administrators: {claim: groups, type: string_array, operator: contains, value: admins}\n"
	f := newFederation(t, settings, map[string]string{"okta": ", groups_claim: groups"})
	groups := func(all ...string) {
		f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) {
			c.Person = map[string]any{"preferred_username": "root", "groups": all}
		})
	}
	groups("eng", "admins")
	b := testkit.NewBrowser(t)
	b.Submit(b.Open(f.url+"/account"), "okta", nil)
	form := b.Open(f.url + "/admin/tokens")
	form.MustShow(t, "Check a token")
	groups("eng")
	f.later(10 * time.Minute)
	for what, p := range map[string]testkit.Page{"page": b.Open(f.url + "/admin/tokens"), "form": b.Submit(form, "", map[string]string{"token": "x"})} {
		if p.Status != http.StatusNotFound {
			t.Errorf("%s: %s", what, p)
		}
	}
}

// TestTokenPageIsAbsent: for everybody but administrators, and for everybody while none are named, the page answers
// exactly as an address that does not exist.
func TestTokenPageIsAbsent(t *testing.T) {
	t.Parallel()
	h := openHouse(t, withAdministrators)
	fetch := func(b *http.Client, method, path string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader("token=x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Header.Del("X-Request-Id")
		res.Header.Del("Date")
		return res.StatusCode, string(body), res.Header
	}
	absent := func(who string, b *http.Client) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			wantStatus, wantBody, wantHeader := fetch(b, method, "/admin/nothing")
			for _, path := range []string{"/admin/tokens", "/admin/targets"} {
				status, body, header := fetch(b, method, path)
				if status != http.StatusNotFound || status != wantStatus || body != wantBody || len(header) != len(wantHeader) {
					t.Errorf("%s, %s %s: %d %q %v, an unknown address gives %d %q %v", who, method, path, status, body, header, wantStatus, wantBody, wantHeader)
				}
			}
		}
	}
	absent("nobody", http.DefaultClient)
	b := testkit.NewBrowser(t)
	account := b.Password(b.Open(h.url+"/account"), "alice", alicePassword)
	if strings.Contains(account.Text, "Check a token") {
		t.Error("the account page of others names the page")
	}
	absent("a person who is no administrator", b.Client)

	h.addUser("root", "admins")
	root := testkit.NewBrowser(t)
	root.Password(root.Open(h.url+"/account"), "root", alicePassword)
	for _, path := range []string{"/admin/tokens", "/admin/targets"} {
		if status, _, _ := fetch(root.Client, "GET", path); status != http.StatusOK {
			t.Errorf("an administrator at %s: status %d", path, status)
		}
	}
	if status, _, header := fetch(root.Client, "POST", "/admin/targets"); status != http.StatusMethodNotAllowed || header.Get("Allow") != "GET, HEAD" {
		t.Errorf("a form for the targets: status %d %v", status, header)
	}
	if status, body, _ := fetch(root.Client, "POST", "/admin/tokens"); status != http.StatusForbidden || strings.Contains(body, "Refused") {
		t.Errorf("a form of another site: status %d %s", status, body)
	}
	if !h.reload(demoOnly) {
		t.Fatal("not reloaded")
	}
	absent("an administrator of earlier", root.Client)
}
