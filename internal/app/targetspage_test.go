package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

// An administrator sees how each target is and why; other people see only that one is not available; strangers see
// neither.
func TestTargetsPage(t *testing.T) {
	t.Parallel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	upstream := testkit.NewMCPServer(t)
	h := openHouse(t, fmt.Sprintf(`
targets:
  web: {url: %q, headers: {Authorization: "Bearer sesame-open"}}
  gone: {url: "http://%s/mcp", headers: {Authorization: "Bearer sesame-open"}}
  broken: {command: [%q], env: {%s: "-"}, sandbox: optional}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [web, gone, broken]}
  /other/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [web]}
administrators: {claim: groups, type: string_array, operator: contains, value: admins}
`, upstream.URL, nobody.Addr(), os.Args[0], brokenCommand))
	h.addUser("root", "admins")
	root, alice := testkit.NewBrowser(t), testkit.NewBrowser(t)
	root.Password(root.Open(h.url+"/account"), "root", alicePassword).MustShow(t, "Targets")
	if account := alice.Password(alice.Open(h.url+"/account"), "alice", alicePassword); strings.Contains(account.Text, "Targets") {
		t.Error("the account page of others names the page")
	}
	var p testkit.Page
	eventually(t, patience, "all targets have been tried", func() bool {
		p = root.Open(h.url + "/admin/targets")
		return strings.Contains(p.Text, "2 of 3 down") && strings.Contains(p.Text, "tools: 1")
	})
	p.MustShow(t, "web", "/mcp, /other/mcp", "MCP 2025-11-25", "gone", nobody.Addr().String(), "connection refused", "broken", "exit status 3", "the disk is full")
	if strings.Contains(p.Text, "sesame") {
		t.Error("the page shows a credential")
	}
	home := alice.Open(h.url + "/")
	home.MustShow(t, `gone <span class="badge warning">not available`, `broken <span class="badge warning">not available`)
	if strings.Contains(home.Text, "web <span") || strings.Contains(home.Text, "disk is full") || strings.Contains(home.Text, nobody.Addr().String()) {
		t.Errorf("home: %s", home.Text)
	}
	for path, may := range map[string]bool{"/": false, "/healthz": false, "/readyz": false, "/readyz?verbose": true} {
		resp, err := http.Get(h.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if strings.Contains(string(body), "gone is down") != may || strings.Contains(string(body), nobody.Addr().String()) || strings.Contains(string(body), "not available") {
			t.Errorf("%s says %s", path, body)
		}
	}
}
