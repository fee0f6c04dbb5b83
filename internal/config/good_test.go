package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
)

func TestMinimal(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	same(t, "public_url", c.PublicURL, "http://localhost:8080")
	same(t, "listen", c.Listen, "127.0.0.1:8080")
	same(t, "state_dir", c.StateDir, filepath.Join("testdata/good", "gatehouse-state"))
	same(t, "database", c.Database.Reveal(), filepath.Join(c.StateDir, "gatehouse.db"))
	same(t, "scopes", c.Endpoints[0].Scopes.Default, identity.Scopes{"mcp:tools"})
	same(t, "prefix", c.Endpoints[0].Prefix, true)
	same(t, "passkeys", c.SignIn.Passkeys, true)
	same(t, "tokens", c.Tokens, Lifetimes{time.Hour, time.Hour, 90 * 24 * time.Hour, 30 * 24 * time.Hour})
	same(t, "key", string(c.MasterKeyBytes()[0]), "0123456789abcdef0123456789abcdef")
	same(t, "issuer", c.Issuer(), "http://localhost:8080")
	same(t, "resource", c.Resource("/mcp"), "http://localhost:8080/mcp")
	same(t, "own", c.IsOwn("http://localhost:8080/.well-known/openid-configuration"), true)
	same(t, "own, other spellings", c.IsOwn("HTTP://LocalHost:8080//.well-known/oauth-authorization-server/"), true)
	same(t, "foreign", c.IsOwn("http://localhost:8081/.well-known/openid-configuration"), false)
	same(t, "foreign path", c.IsOwn("http://localhost:8080/idp/.well-known/openid-configuration"), false)
}

func TestFull(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/full.golden", Format(c.Warnings))
	same(t, "public_url", c.PublicURL, "https://tools.example.com")
	same(t, "proxies", c.TrustedProxies, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")})
	same(t, "keys", len(c.MasterKeyBytes()), 2)
	same(t, "log", c.Log, Log{Format: "text", Level: slog.LevelDebug})
	same(t, "limits", c.Limits, Limits{1 << 20, 2048, 5, 10 * time.Minute, time.Hour, 256, 32})
	same(t, "max_stale", c.MaxStale, 0)
	same(t, "sign_in", c.SignIn, SignIn{Users: true, Session: BrowserSession{time.Hour, 36 * time.Hour}, Unreachable: UnreachableKeep, Recheck: 5 * time.Minute})
	same(t, "registration", c.Registration, Registration{RatePerMinute: 5, PrivateRedirectSchemes: []string{"cursor"},
		Documents: ClientDocuments{Enabled: true, Hosts: []string{"claude.ai", "vscode.dev"}, Trusted: []string{"vscode.dev"}}})

	web, trusted := c.Clients[0], c.Clients[1]
	same(t, "secret", web.Secret.Reveal(), "hunter2")
	same(t, "audience", web.Audience, "api://default")
	same(t, "after sign-out", web.PostLogoutURIs, []string{"https://app.example.com/bye"})
	same(t, "claims", web.AccessTokenClaims, identity.Claims{"cid": "web", "level": 3.0, "beta": true, "tags": []any{"a", "b"}})
	same(t, "lifetimes", web.Lifetimes, Lifetimes{30 * time.Minute, time.Hour, 10 * 24 * time.Hour, 10 * 24 * time.Hour})
	same(t, "name", trusted.Name, "trusted")
	same(t, "consent", trusted.Consent, ConsentSkip)
	same(t, "grants", trusted.GrantTypes, []string{"authorization_code", "refresh_token"})

	okta := c.Authorizers[0]
	same(t, "custom claims", okta.CustomClaims, rulesOf(t,
		identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContainsAny, Values: []string{"eng", "sre"}},
		identity.ClaimRule{Claim: "cid", Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{"0oaz"}},
		identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"staff"}},
	))
	everything, github := c.Targets[0], c.Targets[1]
	same(t, "order", everything.Name, "everything")
	same(t, "dir", everything.Dir, filepath.Join("testdata/good", "servers"))
	same(t, "env", everything.Env["LOG_LEVEL"].Reveal(), "debug")
	same(t, "header", github.Headers["Authorization"].Reveal(), "Bearer Bearer-value-from-file")
	same(t, "timeout", github.Timeout, time.Minute)
	mcp := c.Endpoints[0]
	same(t, "default scopes", mcp.Scopes.Default, identity.Scopes{})
	same(t, "tool scopes", mcp.Scopes.Tools, map[string]identity.Scopes{"github___delete": {"mcp:admin"}})
	same(t, "dpop", []any{c.DPoP, mcp.DPoP, c.Endpoints[1].DPoP, c.Clients[4].DPoPBound, web.DPoPBound}, []any{DPoP{NonceEverywhere}, DPoPRequired, DPoPOffered, true, false})
	same(t, "services", mcp.Services, Services{"gatehouse": {"ci"}, "okta": {"0oaservice"}})
	same(t, "service", []any{c.Clients[4].GrantTypes, c.Clients[4].Groups, c.Clients[4].AuthMethod}, []any{[]string{"client_credentials"}, []string{"eng"}, AuthPost})
	same(t, "access", mcp.Access.Rule.String(), `groups contains_any ["eng" "sre"]`)
	same(t, "any", c.Endpoints[1].Access, Access{AnySignedIn: true})
	same(t, "copies", c.Copies.Address.Reveal(), "10.0.0.12:7443")
	same(t, "prefix", c.Endpoints[1].Prefix, false)
	same(t, "administrators", c.Administrators.String(), `groups contains "admins"`)
}

// TestCommands: what commands may do, and what is said of those that may do more than is good.
func TestCommands(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/commands.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/commands.golden", Format(c.Warnings))
	same(t, "processes", []int{c.Limits.Processes, c.Limits.ProcessesPerPerson}, []int{40, 4})
	files := c.Targets[0]
	same(t, "files", *files.Files, Files{Read: []string{"/srv/share"}, Write: []string{filepath.Join("testdata/good", "scratch")}})
	same(t, "limits", files.Limits, ProcessLimits{256, 1 << 30, 200})
	same(t, "run_as", files.RunAs, "1001:1001")
	same(t, "defaults", []any{files.Sandbox, files.Idle, c.Targets[1].Idle, c.Targets[1].Limits.OpenFiles}, []any{"required", 2 * time.Minute, 10 * time.Minute, 4096})
}

// TestMetrics: off, unless they are asked for; on this machine, unless an address is given; and whoever opens them to
// others without a token is warned.
func TestMetrics(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/metrics.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/metrics.golden", Format(c.Warnings))
	off, err := parseFile(t, "testdata/good/minimal.yaml")
	if err != nil || off.Metrics != nil {
		t.Errorf("%v, %v", off.Metrics, err)
	}
	full, err := parseFile(t, "testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "full", []string{full.Metrics.Listen, full.Metrics.Token.Reveal()}, []string{"127.0.0.1:9464", "a-secret-from-env"})
}

// TestAudit: records are kept strictly, unless the administrator says otherwise, who is warned.
func TestAudit(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/audit.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/audit.golden", Format(c.Warnings))
	strict, err := parseFile(t, "testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "mode", []string{strict.Audit.Mode, c.Audit.Mode}, []string{AuditStrict, AuditBestEffort})
}

// TestToolSearch: how tools are found.
func TestToolSearch(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/search.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/search.golden", Format(c.Warnings))
	same(t, "embeddings", []any{c.Embeddings.Model, c.Embeddings.Timeout, c.Embeddings.APIKey.Reveal()}, []any{"nomic-embed-text", 500 * time.Millisecond, "a-secret-from-env"})
	same(t, "search", *c.Endpoints[0].Search, ToolSearch{List: ListAll, Pinned: []string{"demo___echo"}, Limit: 10, Embeddings: true})
	same(t, "short", *c.Endpoints[1].Search, ToolSearch{List: ListSearch, AgentCore: true, Limit: 10})
	same(t, "plain", *c.Endpoints[2].Search, ToolSearch{List: ListAll, Limit: 10})
}

// TestRead: a command must be kept from every file that the configuration was read from.
func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"key": testKey, "token": "hunter2", "gateway.json": `{"customJWTAuthorizer":{"discoveryUrl":"https://idp.example.com/.well-known/openid-configuration","allowedAudience":["a"]}}`,
		"gatehouse.yaml": `
master_key: {file: key}
authorizers: [{name: core, agentcore_file: gateway.json}]
targets: {web: {url: "https://mcp.example.com/mcp", headers: {Authorization: {file: token}}}}
endpoints: {/mcp: {issuers: [core], access: any_signed_in, targets: [web]}}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(c.Read)
	same(t, "files", c.Read, []string{filepath.Join(dir, "gatehouse.yaml"), filepath.Join(dir, "gateway.json"), filepath.Join(dir, "key"), filepath.Join(dir, "token")})
}

// TestFederated: identity providers, and what is said of those that are allowed but doubtful.
func TestFederated(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/federated.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/federated.golden", Format(c.Warnings))
	same(t, "unreachable", c.SignIn.Unreachable, UnreachableEnd)
	same(t, "recheck", c.SignIn.Recheck, 10*time.Minute)
	okta, entra, google := c.SignIn.OIDC[0].Client(c.PublicURL), c.SignIn.OIDC[1].Client(c.PublicURL), c.SignIn.OIDC[2].Client(c.PublicURL)
	same(t, "callback", okta.RedirectURI, "http://localhost:8080/oauth/callback/okta")
	same(t, "secret", okta.ClientSecret.Reveal(), "a-secret-from-env")
	same(t, "require", okta.Require.String(), `groups contains "staff"`)
	same(t, "key", entra.ClientKey.KeyID+" "+entra.ClientKey.Algorithm, "k1 ES256")
	same(t, "tenants", len(entra.Tenants), 1)
	same(t, "assertions", []bool{c.SignIn.OIDC[0].IDJAG, c.SignIn.OIDC[1].IDJAG}, []bool{true, false})
	same(t, "parameters", google.AuthorizeParams, []oauthclient.Param{{Name: "hd", Value: "acme.example"}})
}

// TestDirectMode: what is said of providers that do not suit MCP clients, and of audiences that nobody looks at.
func TestDirectMode(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/direct.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/direct.golden", Format(c.Warnings))
}

// TestAssertions: what is said of clients whose assertions would be a stranger's to use, or are trusted by nobody.
func TestAssertions(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/id_jag.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/id_jag.golden", Format(c.Warnings))
}

// TestPresetsAreOffered: the file may name every preset that there is.
func TestPresetsAreOffered(t *testing.T) {
	t.Parallel()
	fields, _ := fieldsOf(reflect.TypeFor[OIDC]())
	for _, f := range fields {
		if f.name == "preset" {
			same(t, "presets", f.enum, oauthclient.PresetNames())
		}
	}
}

func rulesOf(t *testing.T, leaves ...identity.ClaimRule) []*identity.Rule {
	t.Helper()
	out := make([]*identity.Rule, len(leaves))
	for i, l := range leaves {
		rule, err := identity.NewRule(l)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = rule
	}
	return out
}

// TestAgentCoreForms: the same authorizer in all the forms that it may be copied in.
func TestAgentCoreForms(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := c.Authorizers[2]
	same(t, "rules", want.CustomClaims, rulesOf(t,
		identity.ClaimRule{Claim: "cid", Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{"0oaz"}},
		identity.ClaimRule{Claim: "org", Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{"acme"}},
		identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"eng"}},
		identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"x"}},
		identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"y"}},
		identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContainsAny, Values: []string{"p", "q"}},
	))
	same(t, "advertised", want.AdvertisedScopes, map[string]string{"a": "openid"})

	whole, err := os.ReadFile("testdata/gateway.json")
	if err != nil {
		t.Fatal(err)
	}
	_, configuration, _ := strings.Cut(string(whole), `"authorizerConfiguration":`)
	configuration = strings.TrimSuffix(strings.TrimSpace(configuration), "}")
	_, jwt, _ := strings.Cut(configuration, `"customJWTAuthorizer":`)
	jwt = strings.TrimSuffix(strings.TrimSpace(jwt), "}")
	base, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, entry := range map[string]string{
		"configuration": `{"name": "unused", "authorizerConfiguration": ` + configuration + `}`,
		"jwt":           `{"name": "unused", "customJWTAuthorizer": ` + jwt + `}`,
	} {
		got, err := Parse([]byte(string(base)+"authorizers: ["+entry+"]\n"), Options{Getenv: testEnv})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(t, name, got.Authorizers[0], want)
	}
}

// TestSecretsNeverPrinted formats a configuration in every way that logs and errors might.
func TestSecretsNeverPrinted(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("configuration", "config", c)
	out := fmt.Sprintf("%v %+v %#v %v %s", *c, *c, *c, c.Clients, c.Clients[0].Secret) + Format(c.Warnings) + c.Warnings.Error() + log.String()
	for _, s := range []string{"hunter2", "Bearer-value", "0123456789abcdef", testKey} {
		if strings.Contains(out, s) {
			t.Errorf("shows %q", s)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("key", testKey+"\n")
	path := write("gatehouse.yaml", `
master_key: {file: key}
database: data.db
targets: {demo: {demo: true}}
endpoints: {/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}}
`)
	c, err := Load(path)
	if err != nil || len(c.Warnings) > 0 {
		t.Fatal(err, c)
	}
	same(t, "database", c.Database.Reveal(), filepath.Join(dir, "data.db"))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("checking left something behind: %v %v", entries, err)
	}
	if _, err := Load(filepath.Join(dir, "no-such-file")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
}

func TestStateDirectoryOfSystemd(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(data, Options{Getenv: func(name string) (string, bool) {
		if name == "STATE_DIRECTORY" {
			return "/var/lib/gatehouse", true
		}
		return testEnv(name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "database", c.Database.Reveal(), "/var/lib/gatehouse/gatehouse.db")
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %#v, want %#v", what, got, want)
	}
}

func TestClaimRules(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range c.Authorizers[0].CustomClaims {
		got = append(got, r.String())
	}
	same(t, "custom claims", got, []string{
		`level equals 3`, `ratio not_equals 0.5`, `mfa equals true`, `tier equals "3"`, `groups starts_with "/eng/"`,
		`email matches ".*@acme\\.example"`, `banned exists false`, `sub exists`,
		`resource_access.*.roles contains_all ["reader" "writer"]`, `urn:zitadel:iam:org:project:roles (keys) contains "admin"`,
	})
	in := c.Authorizers[0].Introspection
	same(t, "introspection", []string{in.URL, in.ClientID, in.ClientSecret.Reveal(), in.AuthMethod}, []string{"", "asker", "a-secret-from-env", AuthBasic})
	same(t, "advertised", c.Endpoints[0].Scopes.Advertised, identity.Scopes{"openid", "groups"})
	same(t, "warnings", len(c.Warnings), 0)
	same(t, "access", c.Endpoints[0].Access.Rule.String(),
		`all of (any of (groups contains_any ["eng" "sre"]; realm_access.roles contains "admin"); not (sub starts_with "svc-"))`)
	same(t, "administrators", c.Administrators.String(),
		`any of (cognito:groups contains "admins"; https://acme.example/roles contains "admin")`)
}

func TestTargetOAuth(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/target_oauth.yaml")
	if err != nil || len(c.Warnings) > 0 {
		t.Fatal(err, c)
	}
	crm, azure := c.Targets[0].OAuth, c.Targets[1].OAuth
	same(t, "issuer", crm.Issuer, "https://as.example/realms/tools")
	same(t, "secret", crm.ClientSecret.Reveal(), "a-secret-from-env")
	same(t, "resource is sent", crm.Resource, true)
	same(t, "bound", crm.DPoP, false)
	same(t, "key", crm.PrivateKey.Client() == nil, true)
	same(t, "resource is not sent", azure.Resource, false)
	same(t, "method", azure.AuthMethod, AuthPost)
	same(t, "scopes", azure.Scopes, identity.Scopes{"api://tools/.default"})
	same(t, "parameters", azure.Parameters, map[string]string{"audience": "tools"})
	same(t, "bound", azure.DPoP, true)
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	c, err := parseFile(t, "testdata/good/prefixes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/prefixes.golden", Format(c.Warnings))
	for at, want := range map[string]string{
		"0 github": "gh_", "0 jira": "jira___", "0 wiki": "gh_wiki_", "1 jira": "", "1 wiki": "",
	} {
		i, target := int(at[0]-'0'), at[2:]
		same(t, at, c.PrefixOf(&c.Endpoints[i], target), want)
	}
	same(t, "marks", c.Endpoints[0].MarkURIs, true)
	same(t, "no marks", c.Endpoints[1].MarkURIs, false)
}

// Clients that describe themselves are as unknown as those that register themselves: one setting closes both doors.
func TestClosedRegistrationClosesDocuments(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]bool{
		"{}":               true,
		"{dynamic: true}":  true,
		"{dynamic: false}": false,
		"{dynamic: false, documents: {enabled: true}}": true,
		"{documents: {enabled: false}}":                false,
		"{documents: {hosts: [claude.ai]}}":            true,
	} {
		c, err := Parse([]byte("master_key: {env: MASTER_KEY}\nregistration: "+settings+"\ntargets: {demo: {demo: true}}\n"+
			"endpoints: {/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}}\n"), Options{Dir: t.TempDir(), Getenv: testEnv})
		if err != nil {
			t.Fatalf("%s: %v", settings, err)
		}
		if got := c.Registration.Documents.Enabled; got != want {
			t.Errorf("%s: documents enabled %v, want %v", settings, got, want)
		}
	}
}
