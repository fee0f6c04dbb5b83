//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// npmServer is the path of a server's script.
func npmServer(pkg string) string {
	return filepath.Join(kit.modules, "@modelcontextprotocol", pkg, "dist", "index.js")
}

func commandTarget(argv ...string) string {
	quoted, _ := json.Marshal(argv)
	return fmt.Sprintf("{command: %s}", quoted)
}

// A real server's tasks of 2025-11-25, over HTTP and as a command, with a question to the client in their middle.
func TestOldTasksWithSDK(t *testing.T) {
	port := freePort(t)
	cmd := exec.Command(kit.node, npmServer("server-everything"), "streamableHttp")
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("PORT=%d", port))
	listening(t, cmd, port)
	h, token := inFrontOf(t, t.TempDir(), []server{
		{name: "npmstdio", config: commandTarget(kit.everything()...)},
		{name: "npmhttp", config: fmt.Sprintf("{url: %q}", fmt.Sprintf("http://127.0.0.1:%d/mcp", port))},
	})
	plan := []step{{Op: "tools", want: []string{`"taskSupport":"required"`}}}
	for _, name := range []string{"npmhttp", "npmstdio"} {
		plan = append(plan, step{Op: "task", Name: name + "___simulate-research-query", Arguments: map[string]any{"topic": "python", "ambiguous": true},
			want: []string{`"type":"taskCreated"`, `"status":"input_required"`, "Research Report: python (historical)"}})
	}
	results := playScript(t, token, plan, kit.node, filepath.Join("node", "client.mjs"), "1", "http", "legacy", h.url+"/mcp")
	compare(results, plan, t)
	for i := range plan[1:] {
		var got struct {
			Tasks struct{ Tasks []struct{ TaskID string } }
		}
		if err := json.Unmarshal(results[i+1], &got); err != nil || len(got.Tasks.Tasks) != i+1 {
			t.Errorf("listed %+v (%v), want the client's own tasks", got, err)
		}
	}
	other := playScript(t, token, []step{{Op: "tools"}}, kit.node, filepath.Join("node", "client.mjs"), "1", "http", "legacy", h.url+"/mcp")
	if len(other) == 0 {
		t.Error("another session of the same person does not work")
	}
}

// Two servers of MCP Apps whose views have the same URI: each tool leads to its own.
func TestAppsWithInspector(t *testing.T) {
	one := commandTarget(kit.node, npmServer("server-basic-vanillajs"), "--stdio")
	h, token := inFrontOf(t, t.TempDir(), []server{{name: "one", config: one}, {name: "two", config: one}})
	for tool, view := range map[string]string{"one___get-time": "ui://get-time/mcp-app.html", "two___get-time": "ui://get-time/mcp-app.html#gatehouse-target=two"} {
		for _, era := range []string{"legacy", "modern"} {
			out, err := inspector(t, h.url+"/mcp", token, "--protocol-era", era, "--advertise-apps", "--app-info", "--method", "tools/call", "--tool-name", tool)
			if err != nil || !strings.Contains(string(out), `"`+view+`"`) {
				t.Errorf("%s %s: %v: no %q in %.800s", tool, era, err, view, out)
			}
			out, err = inspector(t, h.url+"/mcp", token, "--protocol-era", era, "--advertise-apps", "--method", "resources/read", "--uri", view)
			if err != nil || !strings.Contains(string(out), "text/html;profile=mcp-app") || !strings.Contains(string(out), `"uri":"`+view+`"`) {
				t.Errorf("%s %s: %v: no view in %.800s", view, era, err, out)
			}
		}
	}
}

// The Inspector's own checks of skills, beside another target with resources.
func TestSkillsWithInspector(t *testing.T) {
	h, token := inFrontOf(t, t.TempDir(), []server{
		{name: "everything", config: fmt.Sprintf("{url: %q}", startFixtures(t, buildFixtures(t, "everything")))},
		{name: "skilled", config: fmt.Sprintf("{url: %q}", startFixtures(t, buildFixtures(t, "extensions")))},
	})
	for _, era := range []string{"legacy", "modern"} {
		out, err := inspector(t, h.url+"/mcp", token, "--protocol-era", era, "--method", "skills/list", "--verify", "--require-digests")
		if err != nil || !strings.Contains(string(out), "skill://refunds/SKILL.md") || !strings.Contains(string(out), "skill://acme/git-workflow/SKILL.md") {
			t.Errorf("%s: %v: %.2000s", era, err, out)
		}
		out, err = inspector(t, h.url+"/mcp", token, "--protocol-era", era, "--method", "resources/directory/read", "--uri", "skill://acme/git-workflow")
		if err != nil || !strings.Contains(string(out), "skill://acme/git-workflow/references") {
			t.Errorf("%s: %v: %.2000s", era, err, out)
		}
	}
}
