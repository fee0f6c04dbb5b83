package app

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// elsewhere is how soon a copy must know what another process did (design, invariants; TestWatchRevocations in store counts
// the seconds). The rest is for the machine.
const elsewhere = 2*time.Second + 28*time.Second

// mustBeOut checks that neither the access token nor the refresh token of a client is worth anything any more.
func (c *client) mustBeOut() {
	c.t.Helper()
	if a := c.rpc("ping", `{}`); a.status != http.StatusUnauthorized || a.challenge()["error"] != "invalid_token" {
		c.t.Errorf("the access token still works: %s", a)
	}
	if status, doc := c.refreshTokens(); status == http.StatusOK {
		c.t.Error("the refresh token still works")
	} else if doc["error"] != "invalid_grant" && doc["error"] != "invalid_client" {
		c.t.Errorf("refresh: %d %v", status, doc)
	}
}

// mustBeIn checks that a client was not hit by what was meant for another.
func (c *client) mustBeIn() {
	c.t.Helper()
	if a := c.rpc("ping", `{}`); a.status != http.StatusOK {
		c.t.Errorf("somebody else's client is out: %s", a)
	}
}

// What an administrator does at the command line is in force at a running server within two seconds.
func TestRevocationByAnotherProcess(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, revoke := range map[string]func(c *client, a *Admin) error{
		"disable the user":  func(_ *client, a *Admin) error { return a.SetDisabled(ctx, "alice", true) },
		"change the groups": func(_ *client, a *Admin) error { return a.SetAccess(ctx, "alice", []string{"sales"}, nil) },
		"set a password": func(_ *client, a *Admin) error {
			_, err := a.SetPassword(ctx, "alice", secret.New("another horse battery staple"))
			return err
		},
		"revoke the client": func(c *client, a *Admin) error { return a.RevokeClient(ctx, identity.ClientID(c.id)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := prepareHouse(t, demoOnly)
			h.t = t
			h.addUser("alice", "eng")
			h.addUser("bob")
			h.start()
			bob := newClient(h, "/mcp")
			bob.register()
			bob.signIn("bob")
			bob.initialize()
			c := connect(h, "/mcp")
			h.admin(func(_ context.Context, a *Admin) error { return revoke(c, a) })
			eventually(t, elsewhere, "the token is refused", func() bool { return c.rpc("ping", `{}`).status == http.StatusUnauthorized })
			if name == "change the groups" {
				bob.mustBeIn()
				return // the grant stays: the next token has the new groups
			}
			c.mustBeOut()
			bob.mustBeIn()
			if name == "disable the user" {
				if p := c.browser.Open(c.authorizeURL("a-verifier-of-some-length-a-verifier-of-some-length")); p.URL.Path != "/signin" {
					t.Errorf("the browser of a disabled person is still signed in: %s", p)
				}
			}
		})
	}
}

// An id as the log shows it, or one that was not copied to its end, is nobody's: to say that it is revoked would be a lie.
func TestShortenedClientIsNotRevoked(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, demoOnly)
	h.addUser("alice", "eng")
	h.start()
	c := connect(h, "/mcp")
	h.admin(func(ctx context.Context, a *Admin) error {
		for _, id := range []string{identity.ClientID(c.id).Short(), c.id[:len(c.id)-1], "https://client.e…/client.json"} {
			if err := a.RevokeClient(ctx, identity.ClientID(id)); err == nil || !strings.Contains(err.Error(), "give it whole") {
				t.Errorf("%s: %v", id, err)
			}
		}
		return nil
	})
	c.mustBeIn()
}

// A refresh after a change of groups brings a token that works and knows the new groups.
func TestChangedGroupsComeWithTheNextToken(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	c := connect(h, "/mcp")
	h.admin(func(ctx context.Context, a *Admin) error { return a.SetAccess(ctx, "alice", []string{"sales"}, nil) })
	eventually(t, elsewhere, "the old token is refused", func() bool { return c.rpc("ping", `{}`).status == http.StatusUnauthorized })
	eventually(t, elsewhere, "a refresh brings a token that works", func() bool {
		// Tokens tell their time in whole seconds: one of the very second of the change is refused, to be safe.
		status, doc := c.refreshTokens()
		if status != http.StatusOK {
			t.Fatalf("refresh: %d %v", status, doc)
		}
		return c.rpc("ping", `{}`).status == http.StatusOK
	})
	if groups, _ := claims(t, c.access)["groups"].([]any); len(groups) != 1 || groups[0] != "sales" {
		t.Errorf("the new token says groups %v, want sales", groups)
	}
}

// What a person does on the account page is in force when the page comes back.
func TestAccountPageCutsOffAtOnce(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	first, second := connect(h, "/mcp"), connect(h, "/mcp")
	grant, _ := claims(t, first.access)["gid"].(string)
	p := first.browser.Submit(first.browser.Open(h.url+"/account"), "Disconnect", map[string]string{"grant": grant})
	p.MustShow(t, "The client is disconnected")
	first.mustBeOut()
	second.mustBeIn()
}

// A new password disconnects every client and signs out every other browser, at once.
func TestNewPasswordCutsOffAtOnce(t *testing.T) {
	t.Parallel()
	const next = "another horse battery staple"
	h := openHouse(t, demoOnly)
	c, other := connect(h, "/mcp"), connect(h, "/mcp")
	p := c.browser.Submit(c.browser.Open(h.url+"/account"), "Change password", map[string]string{
		"password": alicePassword, "new_password": next, "repeat_password": next,
	})
	p.MustShow(t, "Your password was changed")
	c.mustBeOut()
	other.mustBeOut()
	if p := other.browser.Open(h.url + "/account"); p.URL.Path != "/signin" {
		t.Errorf("another browser stays signed in after a change of password: %s", p)
	}
	fresh := newClient(h, "/mcp")
	fresh.register()
	again := fresh.browser.Open(fresh.authorizeURL("a-verifier-of-some-length-a-verifier-of-some-length"))
	if p := fresh.browser.Password(again, "alice", alicePassword); p.Status != http.StatusUnauthorized {
		t.Errorf("the old password still opens the door: %s", p)
	}
	if p := fresh.browser.Password(again, "alice", next); p.URL.Path != "/consent" {
		t.Errorf("the new password does not: %s", p)
	}
}

// The same through the server's own store: nobody waits for a poll.
func TestRevocationInThisProcessIsImmediate(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	db := h.app.state.Store
	c, other := connect(h, "/mcp"), connect(h, "/mcp")
	if err := db.RevokeClient(t.Context(), identity.ClientID(c.id), "test"); err != nil {
		t.Fatal(err)
	}
	c.mustBeOut()
	other.mustBeIn()
	alice, err := db.UserByName(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetUserDisabled(t.Context(), alice.ID, true); err != nil {
		t.Fatal(err)
	}
	other.mustBeOut()
}
