package clientconfig

import (
	"fmt"
	"strconv"
	"strings"
)

// clients lists all clients in the order in which they are shown.
func clients() []client {
	return []client{
		{"kiro", "Kiro", kiro},
		{"kiro-cli", "Kiro CLI", kiroCLI},
		{"vscode", "Visual Studio Code", vscode},
		{"cursor", "Cursor", cursor},
		{"claude-code", "Claude Code", claudeCode},
		{"claude-ai", "claude.ai and Claude Desktop", claudeAI},
		{"chatgpt", "ChatGPT", chatGPT},
		{"codex", "Codex CLI", codex},
		{"zed", "Zed", zed},
		{"goose", "Goose", goose},
		{"gemini", "Gemini CLI", gemini},
		{"opencode", "OpenCode", openCode},
		{"windsurf", "Windsurf", windsurf},
		{"jetbrains", "JetBrains AI Assistant", jetBrains},
		{"lmstudio", "LM Studio", lmStudio},
		{"copilot-cli", "GitHub Copilot CLI", copilotCLI},
		{"mcp-remote", "mcp-remote", mcpRemote},
	}
}

const everywhere = "all systems"

// home places a file in the home directory.
func home(path string) []Place {
	return []Place{{"macOS, Linux", "~/" + path}, {"Windows", `%USERPROFILE%\` + strings.ReplaceAll(path, "/", `\`)}}
}

// workspace adds a file that is shared with a project.
func workspace(places []Place, path string) []Place {
	return append(places, Place{"one project", path})
}

// servers wraps the entry of one server the way most clients do.
func servers(o Options, key string, entry object) string {
	return indented(object{{key, object{{o.Name, entry}}}})
}

// entry begins an entry with the URL under the client's name for it.
func entry(key, url string) object { return object{{key, url}} }

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// register says which redirect URIs a static client needs.
func (r *Result) register(o Options, uris ...string) {
	if o.static() {
		r.note("In Gatehouse's configuration the client %s needs redirect_uris: [%s].", o.StaticClientID, strings.Join(uris, ", "))
	}
}

// noStatic says that a client cannot be given a registration, as far as is known.
func (r *Result) noStatic(o Options) {
	if o.static() {
		r.note("How to give it the client %s is not known, so it will register itself. With mcp-remote in between it can use that client: gatehouse client-config mcp-remote.", o.StaticClientID)
	}
}

func (r *Result) unverified(what string) {
	r.note("Not verified with a real %s: %s.", r.Title, what)
}

func kiro(o Options, r *Result) {
	e := entry("url", o.URL)
	if o.static() {
		e = e.with("oauth", object{{"clientId", o.StaticClientID}, {"redirectUri", fmt.Sprintf("127.0.0.1:%d", o.RedirectPort)}})
		r.unverified("its documentation puts oauthScopes beside oauth, a comment of its makers inside; and which redirect URI it makes of redirectUri")
		r.register(o, fmt.Sprintf("http://127.0.0.1:%d/oauth/callback", o.RedirectPort))
		r.note("The form of the AgentCore walkthrough, with mcp-remote in between, is printed by: gatehouse client-config mcp-remote.")
	}
	if len(o.Scopes) > 0 {
		e = e.with("oauthScopes", o.Scopes)
	}
	r.Places = workspace(home(".kiro/settings/mcp.json"), ".kiro/settings/mcp.json")
	r.Content, r.Format = servers(o, "mcpServers", e), "json"
	r.Link = "https://kiro.dev/launch/mcp/add?name=" + inURL(o.Name) + "&config=" + inURL(compact(e))
	r.note("Kiro reads the file again when it is saved, and opens the browser to sign in.")
}

func kiroCLI(o Options, r *Result) {
	e := entry("url", o.URL)
	if o.static() {
		redirect := fmt.Sprintf("http://localhost:%d/oauth/callback", o.RedirectPort)
		e = e.with("oauth", object{{"clientId", o.StaticClientID}, {"redirectUri", redirect}})
		r.note("A full redirectUri needs Kiro CLI 2.12 or later.")
		r.register(o, redirect)
	}
	if len(o.Scopes) > 0 {
		e = e.with("oauthScopes", o.Scopes)
	}
	r.Places = workspace(home(".kiro/settings/mcp.json"), ".kiro/settings/mcp.json")
	r.Content, r.Format = servers(o, "mcpServers", e), "json"
	r.note("kiro-cli mcp status shows whether it is connected.")
}

func vscode(o Options, r *Result) {
	e := object{{"type", "http"}, {"url", o.URL}}
	if o.static() {
		e = e.with("oauth", object{{"clientId", o.StaticClientID}})
		r.register(o, "http://127.0.0.1:33418/", "https://vscode.dev/redirect")
	}
	r.Places = []Place{{"one project", ".vscode/mcp.json"}, {"yourself", "command palette: MCP: Open User Configuration"}}
	r.Content, r.Format = servers(o, "servers", e), "json"
	r.Commands = []string{command("code", "--add-mcp", compact(append(object{{"name", o.Name}}, e...)))}
	r.Link = "https://vscode.dev/redirect/mcp/install?name=" + inURL(o.Name) + "&config=" + inURL(compact(e))
}

func cursor(o Options, r *Result) {
	e := entry("url", o.URL)
	if o.static() {
		auth := object{{"CLIENT_ID", o.StaticClientID}}
		if len(o.Scopes) > 0 {
			auth = auth.with("scopes", o.Scopes)
		}
		e = e.with("auth", auth)
		r.register(o, "http://localhost:8787/callback", "https://www.cursor.com/agents/mcp/oauth/callback")
	}
	r.Places = workspace(home(".cursor/mcp.json"), ".cursor/mcp.json")
	r.Content, r.Format = servers(o, "mcpServers", e), "json"
	r.Link = "cursor://anysphere.cursor-deeplink/mcp/install?name=" + inURL(o.Name) + "&config=" + inBase64(compact(e))
	r.note("Versions before 3.10.17 come back to cursor://…; for these Gatehouse needs registration: {private_redirect_schemes: [cursor]}.")
}

func claudeCode(o Options, r *Result) {
	e := object{{"type", "http"}, {"url", o.URL}}
	words := []string{"claude", "mcp", "add", "--transport", "http"}
	if o.static() {
		oauth := object{{"clientId", o.StaticClientID}, {"callbackPort", o.RedirectPort}}
		if len(o.Scopes) > 0 {
			oauth = oauth.with("scopes", strings.Join(o.Scopes, " "))
		}
		e = e.with("oauth", oauth)
		words = append(words, "--client-id", o.StaticClientID, "--callback-port", strconv.Itoa(o.RedirectPort))
		r.register(o, fmt.Sprintf("http://localhost:%d/callback", o.RedirectPort))
	}
	r.Places = []Place{{"one project", ".mcp.json"}}
	r.Content, r.Format = servers(o, "mcpServers", e), "json"
	r.Commands = []string{command(append(words, o.Name, o.URL)...)}
	r.note("In a session, /mcp starts the sign-in.")
}

func claudeAI(o Options, r *Result) {
	r.Steps = []string{"Open Settings › Connectors › Add custom connector.", "Name: " + o.Name, "URL: " + o.URL}
	if o.static() {
		r.Steps = append(r.Steps, "Advanced settings, OAuth client ID: "+o.StaticClientID)
		r.register(o, "https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback")
	}
	r.fromOutside(o, "It connects from Anthropic's servers (160.79.104.0/21)")
}

func chatGPT(o Options, r *Result) {
	r.Steps = []string{"Open Settings › Connectors › Create.", "Name: " + o.Name, "MCP server URL: " + o.URL, "Authentication: OAuth"}
	r.unverified("the names in its settings, which differ between plans and need developer mode in some")
	r.noStatic(o)
	r.fromOutside(o, "It connects from OpenAI's servers")
}

// fromOutside warns that a hosted client does not reach private addresses.
func (r *Result) fromOutside(o Options, how string) {
	note := how + ", so the URL must be reachable from the internet over https."
	if o.loopback() {
		note += " This one is not."
	}
	r.note("%s", note)
}

func codex(o Options, r *Result) {
	var b strings.Builder
	fmt.Fprintf(&b, "[mcp_servers.%s]\nurl = %s\n", o.Name, quote(o.URL))
	if len(o.Scopes) > 0 {
		fmt.Fprintf(&b, "scopes = %s\n", compact(o.Scopes))
	}
	if o.static() {
		fmt.Fprintf(&b, "\n[mcp_servers.%s.oauth]\nclient_id = %s\ncallback_port = %d\n", o.Name, quote(o.StaticClientID), o.RedirectPort)
		r.register(o, fmt.Sprintf("http://127.0.0.1:%d/callback", o.RedirectPort))
		r.note("Some versions add a part of their own behind /callback; the page that refuses the redirect URI shows it.")
	}
	r.Places = home(".codex/config.toml")
	r.Content, r.Format = b.String(), "toml"
	r.unverified("codex mcp login " + o.Name + " starts the sign-in")
}

func zed(o Options, r *Result) {
	e := entry("url", o.URL)
	if o.static() {
		e = e.with("oauth", object{{"client_id", o.StaticClientID}})
		r.register(o, "http://127.0.0.1/callback")
	}
	r.Places = []Place{{everywhere, "settings.json (command palette: zed: open settings)"}}
	r.Content, r.Format = servers(o, "context_servers", e), "json"
}

func goose(o Options, r *Result) {
	var b strings.Builder
	fmt.Fprintf(&b, "extensions:\n  %s:\n    enabled: true\n    type: streamable_http\n    name: %s\n    uri: %s\n    timeout: 300\n", quote(o.Name), quote(o.Name), quote(o.URL))
	r.Places = []Place{{"macOS, Linux", "~/.config/goose/config.yaml"}, {"Windows", `%APPDATA%\Block\goose\config\config.yaml`}}
	r.Content, r.Format = b.String(), "yaml"
	r.unverified("the keys of the entry, and the place on Windows")
	r.noStatic(o)
}

func gemini(o Options, r *Result) {
	e := entry("httpUrl", o.URL)
	if o.static() {
		oauth := object{{"enabled", true}, {"clientId", o.StaticClientID}}
		if len(o.Scopes) > 0 {
			oauth = oauth.with("scopes", o.Scopes)
		}
		e = e.with("oauth", oauth)
		r.register(o, "http://localhost/oauth/callback")
	}
	r.Places = home(".gemini/settings.json")
	r.Content, r.Format = servers(o, "mcpServers", e), "json"
	if !o.static() {
		r.Commands = []string{command("gemini", "mcp", "add", "--transport", "http", o.Name, o.URL)}
	}
	r.note("In a session, /mcp auth %s starts the sign-in.", o.Name)
}

func openCode(o Options, r *Result) {
	r.Places = []Place{{"one project", "opencode.json"}, {"macOS, Linux", "~/.config/opencode/opencode.json"}}
	r.Content, r.Format = servers(o, "mcp", object{{"type", "remote"}, {"url", o.URL}}), "json"
	r.noStatic(o)
}

func windsurf(o Options, r *Result) {
	r.Places = home(".codeium/windsurf/mcp_config.json")
	r.Content, r.Format = servers(o, "mcpServers", entry("serverUrl", o.URL)), "json"
	r.unverified("the entry, and that it can sign in over HTTP; if it cannot, use gatehouse client-config mcp-remote")
	r.noStatic(o)
}

func jetBrains(o Options, r *Result) {
	mcpRemote(o, r)
	r.Places = []Place{{everywhere, "Settings › Tools › AI Assistant › Model Context Protocol (MCP) › Add › As JSON"}}
	r.Commands = nil
	r.note("Its documentation names no way to sign in over HTTP, so mcp-remote does that for it.")
	r.unverified("the entry")
}

func lmStudio(o Options, r *Result) {
	e := entry("url", o.URL)
	r.Places = []Place{{everywhere, "mcp.json (Program › Install › Edit mcp.json)"}}
	r.Content, r.Format = servers(o, "mcpServers", e), "json"
	r.Link = "lmstudio://add_mcp?name=" + inURL(o.Name) + "&config=" + inBase64(compact(e))
	r.unverified("that it can sign in over HTTP; if it cannot, use gatehouse client-config mcp-remote")
	r.noStatic(o)
}

func copilotCLI(o Options, r *Result) {
	r.Places = home(".copilot/mcp-config.json")
	r.Content, r.Format = servers(o, "mcpServers", object{{"type", "http"}, {"url", o.URL}, {"tools", []string{"*"}}}), "json"
	r.unverified("the file and the entry; inside a session, /mcp add asks for the same")
	r.noStatic(o)
}
