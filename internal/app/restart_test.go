package app

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/secret"
)

// A restart loses nothing that must survive: registrations, grants, keys, browser sessions. MCP sessions end with 404,
// at which clients begin anew.
func TestRestart(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	c := connect(h, "/mcp")
	c.mustCall("demo___echo", `{"text":"before"}`)
	h.restart()
	if a := c.rpc("tools/list", `{}`); a.status != http.StatusNotFound {
		t.Errorf("a session from before the restart: %s", a)
	}
	c.initialize()
	c.mustCall("demo___echo", `{"text":"with the old access token"}`)
	old := keyID(t, c.access)
	if status, doc := c.refreshTokens(); status != http.StatusOK {
		t.Fatalf("refresh after a restart: %d %v", status, doc)
	}
	if now := keyID(t, c.access); now != old {
		t.Errorf("after the restart key %s signs, before %s", now, old)
	}
	c.mustBeIn()
	// signIn gives the password only when it is asked for, so a browser that was forgotten would show here.
	if p := c.browser.Open(c.authorizeURL("a-verifier-of-some-length-a-verifier-of-some-length", "mcp:tools")); p.URL.Path != "/consent" {
		t.Errorf("the browser has to sign in again: %s", p)
	}
	c.signIn("alice") // with the client id from before
	c.initialize()
}

// A database of the first version is upgraded by the start, and its people can sign in.
func TestUpgradeOfAnOlderDatabase(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, demoOnly)
	script, err := os.ReadFile(filepath.Join("..", "store", "testdata", "version1.sql"))
	if err != nil {
		t.Fatal(err)
	}
	h.rawDatabase(string(script))
	h.start()
	h.admin(func(ctx context.Context, a *Admin) error {
		_, err := a.SetPassword(ctx, "Ann", secret.New(alicePassword))
		return err
	})
	nextSecond()
	c := newClient(h, "/mcp")
	c.register()
	c.signIn("ann")
	c.initialize()
	if text := c.mustCall("demo___whoami", `{}`); !strings.Contains(text, `"eng"`) {
		t.Errorf("the groups of version 1 are lost: %s", text)
	}
	h.stop()
	// The way back is closed: an older program does not touch a newer database.
	h.rawDatabase(`INSERT INTO gatehouse_schema VALUES (1000, 0)`)
	if err := h.tryStart(); err == nil || !strings.Contains(err.Error(), "1000") {
		t.Errorf("a database of a later version: %v", err)
	}
}

// nextSecond waits for the clock: tokens tell their time in whole seconds, and one of the very second of a change is refused.
func nextSecond() { <-time.After(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) }

// rawDatabase runs a script on the database behind Gatehouse's back.
func (h *house) rawDatabase(script string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Join(h.dir, "state"), 0o700); err != nil {
		h.t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(h.dir, "state", "gatehouse.db"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(script); err != nil {
		h.t.Fatal(err)
	}
}

// Checklist 63: a backup can be made while the server runs and put back only when it does not; what was used or given
// since does not come back to life.
func TestChecklist63_BackupAndRestore(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	c := connect(h, "/mcp")
	backup := filepath.Join(h.dir, "backup.db")
	h.admin(func(ctx context.Context, a *Admin) error { return a.Backup(ctx, backup) })
	h.addUser("bob")
	quiet := slog.New(slog.DiscardHandler)
	if err := Restore(t.Context(), h.config(), quiet, backup); err == nil || !strings.Contains(err.Error(), "stop Gatehouse first") {
		t.Fatalf("restore below a running server: %v", err)
	}
	c.mustBeIn()
	h.stop()
	if err := Restore(t.Context(), h.config(), quiet, backup); err != nil {
		t.Fatalf("restore: %v", err)
	}
	h.start()
	c.mustBeOut()
	if p := c.browser.Open(h.url + "/account"); p.URL.Path != "/signin" {
		t.Errorf("a browser session of the backup is alive: %s", p)
	}
	h.admin(func(ctx context.Context, a *Admin) error {
		users, err := a.Users(ctx)
		if len(users) != 1 || users[0].Username != "alice" {
			t.Errorf("users after the restore: %v", users)
		}
		return err
	})
	eventually(t, elsewhere, "alice can come in again", func() bool {
		c.signIn("alice") // a token of the very second of the restore does not count yet
		return c.rpc("initialize", initializeParams).status == http.StatusOK
	})
}
