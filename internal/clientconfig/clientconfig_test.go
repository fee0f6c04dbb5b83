package clientconfig

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestRender: what is printed for each client, with registration by itself and with a static client.
func TestRender(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		for suffix, o := range map[string]Options{
			"":        {URL: "https://tools.example.com/mcp"},
			"-static": {Name: "tools", URL: "http://localhost:8080/mcp", StaticClientID: "0oa'7&<x>", Scopes: []string{"openid", "offline_access"}, RedirectPort: 8123},
		} {
			t.Run(name+suffix, func(t *testing.T) {
				t.Parallel()
				r, err := Render(name, o)
				if err != nil {
					t.Fatal(err)
				}
				parses(t, r)
				golden(t, filepath.Join("testdata", name+suffix+".golden"), r.Text())
			})
		}
	}
}

// parses checks that content and link are what they claim to be.
func parses(t *testing.T, r Result) {
	t.Helper()
	var value map[string]any
	switch r.Format {
	case "json":
		if err := json.Unmarshal([]byte(r.Content), &value); err != nil {
			t.Error(err)
		}
	case "yaml":
		if err := yaml.Unmarshal([]byte(r.Content), &value); err != nil {
			t.Error(err)
		}
	case "toml", "": // a golden file pins the one; the other has no content
	default:
		t.Errorf("format %q", r.Format)
	}
	if (r.Content == "") != (len(r.Places) == 0) || (r.Content == "") != (len(r.Steps) > 0) {
		t.Error("content without a place, or the other way round")
	}
	if r.Link == "" {
		return
	}
	link, err := url.Parse(r.Link)
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(link.Query().Get("config"))
	if decoded, err := base64.StdEncoding.DecodeString(string(config)); err == nil {
		config = decoded
	}
	if err := json.Unmarshal(config, &value); err != nil || value["url"] == nil || link.Query().Get("name") == "" {
		t.Errorf("link %s holds %s: %v", r.Link, config, err)
	}
}

// TestWalkthrough: the entry of the AgentCore walkthrough, word for word.
func TestWalkthrough(t *testing.T) {
	t.Parallel()
	r, err := Render("mcp-remote", Options{Name: "gateway-tools", URL: "http://localhost:8080/mcp", StaticClientID: "kiro-walkthrough"})
	if err != nil {
		t.Fatal(err)
	}
	want := "npx -y mcp-remote@0.15.1 http://localhost:8080/mcp 3334 --static-oauth-client-info " +
		`'{"client_id":"kiro-walkthrough","redirect_uris":["http://localhost:3334/oauth/callback"],"scope":"openid profile email offline_access"}'`
	if r.Commands[0] != want {
		t.Errorf("got  %s\nwant %s", r.Commands[0], want)
	}
	example, err := os.ReadFile("../../examples/walkthrough/mcp.json")
	if err != nil {
		t.Fatal(err)
	}
	if r.Content != string(example) {
		t.Errorf("examples/walkthrough/mcp.json differs from\n%s", r.Content)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := Options{URL: "https://tools.example.com/mcp"}
	for name, change := range map[string]func(*Options){
		"no URL":       func(o *Options) { o.URL = "" },
		"not http":     func(o *Options) { o.URL = "ftp://tools.example.com/mcp" },
		"plain http":   func(o *Options) { o.URL = "http://tools.example.com/mcp" },
		"name":         func(o *Options) { o.Name = "a b" },
		"name in TOML": func(o *Options) { o.Name = "a]\nx=1" },
		"long name":    func(o *Options) { o.Name = strings.Repeat("a", 65) },
		"port":         func(o *Options) { o.RedirectPort = 70000 },
		"scope":        func(o *Options) { o.Scopes = []string{"a b"} },
	} {
		o := good
		change(&o)
		if r, err := Render("codex", o); err == nil {
			t.Errorf("%s: %s", name, r.Content)
		}
	}
	if _, err := Render("emacs", good); err == nil || !strings.Contains(err.Error(), "mcp-remote") {
		t.Errorf("unknown client: %v", err)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; read it, then run with -update when it is right\n got:\n%s\nwant:\n%s", path, got, want)
	}
}
