package config

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/identity"
)

func TestQuickstart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := Quickstart(QuickstartOptions{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "public URL", c.PublicURL, "http://localhost:8080")
	same(t, "listen", c.Listen, "127.0.0.1:8080")
	same(t, "database", c.Database.Reveal(), filepath.Join(dir, "gatehouse.db"))
	same(t, "quickstart", c.Quickstart, true)
	same(t, "scopes", c.Endpoints[0].Scopes.Default, identity.Scopes{"mcp:tools"})
	same(t, "access", c.Endpoints[0].Access.AnySignedIn, true)
	same(t, "demo", c.Targets[0].Demo, true)

	for _, listen := range []string{"localhost:9000", "127.0.0.2:9000", "[::1]:9000"} {
		c, err := Quickstart(QuickstartOptions{StateDir: dir, Listen: listen})
		if err != nil {
			t.Errorf("%s: %v", listen, err)
			continue
		}
		same(t, listen, c.PublicURL, "http://localhost:9000")
	}
	if c, err = Quickstart(QuickstartOptions{StateDir: dir, Listen: "127.0.0.1:0", PublicURL: "http://127.0.0.1:4444"}); err != nil {
		t.Error(err)
	} else {
		same(t, "public URL", c.PublicURL, "http://127.0.0.1:4444")
	}
}

// TestQuickstartStaysInside: nothing on the command line makes the quickstart reachable from outside.
func TestQuickstartStaysInside(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]QuickstartOptions{
		"all addresses":   {StateDir: "x", Listen: "0.0.0.0:8080"},
		"no address":      {StateDir: "x", Listen: ":8080"},
		"all v6":          {StateDir: "x", Listen: "[::]:8080"},
		"private":         {StateDir: "x", Listen: "192.168.1.2:8080"},
		"name":            {StateDir: "x", Listen: "gatehouse.example.com:8080"},
		"public URL":      {StateDir: "x", PublicURL: "https://tools.example.com"},
		"http public URL": {StateDir: "x", PublicURL: "http://tools.example.com"},
		"proxy":           {StateDir: "x", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	} {
		if _, err := Quickstart(o); err == nil || !strings.Contains(err.Error(), "configuration file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, o := range map[string]QuickstartOptions{
		"no state directory": {},
		"no port":            {StateDir: "x", Listen: "localhost"},
		"open port":          {StateDir: "x", Listen: "127.0.0.1:0"},
		"not a URL":          {StateDir: "x", PublicURL: "localhost"},
	} {
		if _, err := Quickstart(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
