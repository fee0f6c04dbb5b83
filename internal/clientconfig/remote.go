package clientconfig

import (
	"fmt"
	"strconv"
	"strings"
)

// Remote is mcp-remote at the version that Gatehouse is tested with. It signs in for programs that only start stdio
// servers.
const Remote = "mcp-remote@0.15.1"

// remoteScopes are what the AgentCore walkthrough asks for.
const remoteScopes = "openid profile email offline_access"

func mcpRemote(o Options, r *Result) {
	args := []string{"-y", Remote, o.URL}
	if o.static() {
		scope := strings.Join(o.Scopes, " ")
		if scope == "" {
			scope = remoteScopes
		}
		redirect := fmt.Sprintf("http://localhost:%d/oauth/callback", o.RedirectPort)
		info := object{{"client_id", o.StaticClientID}, {"redirect_uris", []string{redirect}}, {"scope", scope}}
		args = append(args, strconv.Itoa(o.RedirectPort), "--static-oauth-client-info", compact(info))
		r.register(o, redirect)
		r.note("On Windows mcp-remote listens as 127.0.0.1; register http://127.0.0.1:%d/oauth/callback too.", o.RedirectPort)
	} else if len(o.Scopes) > 0 {
		args = append(args, "--static-oauth-client-metadata", compact(object{{"scope", strings.Join(o.Scopes, " ")}}))
	}
	r.Places = []Place{{everywhere, "the file in which the program lists its stdio servers; for Kiro ~/.kiro/settings/mcp.json"}}
	r.Content, r.Format = servers(o, "mcpServers", object{{"command", "npx"}, {"args", args}}), "json"
	r.Commands = []string{command(append([]string{"npx"}, args...)...)}
	r.note("Needs Node.js. Programs with windows start without your shell's PATH: if npx is not found, give its full path as command, and add env with PATH and HOME.")
	r.note("Tokens are kept in ~/.mcp-auth; remove that directory to sign in afresh.")
}
