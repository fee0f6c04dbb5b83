// Package config owns the configuration file: its shape, its defaults, its checks, its secrets by reference, its JSON
// Schema, and the built-in configuration of the quickstart. Checking has no side effects: it reads the file and what
// the file names, and writes nothing. What the settings do is the business of the packages that app hands them to.
//
// The types below are the one description of the file. The decoder, the schema and the reference in docs/config.md
// all read their tags:
//
//	yaml:"name,option…"  the key; options are listed at the type option
//	enum:"a,b"           the only values
//	doc:"…"              one sentence for the schema and the reference
package config

import (
	"log/slog"
	"net/netip"
	"net/url"
	"path"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// Gatehouse is the name by which endpoints accept tokens of the built-in authorization server.
const Gatehouse = "gatehouse"

// Config is a checked configuration. It is immutable once loaded.
type Config struct {
	PublicURL      Origin         `yaml:"public_url" doc:"Origin at which clients reach Gatehouse, and its issuer identifier. https, or http on a loopback host. Without it: http://localhost and the port of listen, which must then be a loopback address."`
	Listen         string         `yaml:"listen" doc:"Address and port to listen on. Anything but loopback needs tls or behind_tls_proxy."`
	TLS            *TLS           `yaml:"tls" doc:"Certificate for serving https directly. Files that change are read again."`
	BehindTLSProxy bool           `yaml:"behind_tls_proxy" doc:"Says that a proxy named in trusted_proxies terminates TLS, so that plain http may be served to it."`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies" doc:"Addresses (CIDR) whose X-Forwarded-For is believed."`
	CertHeader     string         `yaml:"client_certificate_header" doc:"Header in which the proxies of trusted_proxies say with which certificate the client has proved itself to them, for access tokens that are bound to one (RFC 8705): Client-Cert as in RFC 9440, or one with PEM in percent-encoding (nginx: $ssl_client_escaped_cert). The proxy must remove what clients send in it; gatehouse doctor tries that. Without it: such tokens are refused."`
	AllowedOrigins []Origin       `yaml:"allowed_origins" doc:"Web origins that may call the endpoints from a browser (CORS)."`
	StateDir       string         `yaml:"state_dir,path" doc:"Directory for the SQLite database and the audit records. Without it: the systemd state directory ($STATE_DIRECTORY), else gatehouse-state beside the configuration file."`
	Database       secret.Text    `yaml:"database,plain" doc:"SQLite file, or postgres:// address. Without it: gatehouse.db in state_dir."`
	MasterKeys     []secret.Text  `yaml:"master_key,single,noinline" doc:"32 random bytes in base64 or hex, by file or environment variable. All other keys derive from it. A list rotates: newest first, older ones still open what they sealed."`
	Copies         *Copies        `yaml:"copies" doc:"How several copies of Gatehouse reach each other. They share database, master_key and public_url. Without it a copy is alone: sessions of others are unknown to it."`
	Metrics        *Metrics       `yaml:"metrics" doc:"Serves metrics for Prometheus at /metrics, on an address of its own. Without it there are none."`
	Log            Log            `yaml:"log" doc:"What the log looks like."`
	Audit          Audit          `yaml:"audit" doc:"The records of who did what, in state_dir."`
	Limits         Limits         `yaml:"limits" doc:"Bounds on what one client may ask for."`
	MaxStale       time.Duration  `yaml:"max_stale" doc:"How long verified tokens keep working while the database cannot be reached."`
	SignIn         SignIn         `yaml:"sign_in" doc:"How people sign in to the built-in authorization server."`
	Tokens         Lifetimes      `yaml:"tokens" doc:"Lifetimes for dynamically registered clients, and for static clients that set none of their own."`
	Registration   Registration   `yaml:"registration" doc:"Clients that nobody wrote down: they register themselves (RFC 7591), or describe themselves in a document."`
	Clients        []Client       `yaml:"clients" doc:"Static OAuth clients of the built-in authorization server."`
	Authorizers    []Authorizer   `yaml:"authorizers" doc:"Rule sets for tokens, by discovery URL."`
	Targets        []Target       `yaml:"targets" doc:"The MCP servers behind Gatehouse, by name."`
	DPoP           DPoP           `yaml:"dpop" doc:"Proofs of possession (RFC 9449). Clients may bind their tokens to a key at every endpoint; dpop: required at an endpoint makes them."`
	Endpoints      []Endpoint     `yaml:"endpoints" doc:"The MCP URLs that Gatehouse serves, by path."`
	Embeddings     *Embeddings    `yaml:"embeddings" doc:"Where texts become vectors, for endpoints whose search has embeddings: true."`
	Administrators *identity.Rule `yaml:"administrators" doc:"Claim rule that names the administrators, on the claims of their access tokens here. They have a page, /admin/tokens, that says why an endpoint accepts or refuses a token; for others it does not exist. Without it nobody is one."`

	Quickstart bool   `yaml:"-"` // no file: app makes a master key and a first user
	Warnings   Faults `yaml:"-"` // what is allowed, but should be thought over

	Read []string `yaml:"-"` // files that were read for it, itself among them
}

// CertificatesShown reports whether clients can show a certificate, here or to a proxy.
func (c *Config) CertificatesShown() bool {
	return c.CertHeader != "" || c.TLS != nil && c.TLS.ClientCertificates
}

// TLS names the certificate files.
type TLS struct {
	CertFile string `yaml:"cert_file,path,required" doc:"Certificate chain in PEM."`
	KeyFile  string `yaml:"key_file,path,required" doc:"Private key in PEM."`

	ClientCertificates bool   `yaml:"client_certificates" doc:"Clients are asked for a certificate, and may have none. Access tokens that their issuer bound to a certificate (RFC 8705) need it; without this they are refused. Browsers that have certificates may ask their people which to show."`
	ClientCAFile       string `yaml:"client_ca_file,path" doc:"Authorities in PEM from which clients' certificates must come. Without it: any certificate, for tokens name the very one that they are bound to."`
}

// Copies says how copies reach each other.
type Copies struct {
	Listen  string      `yaml:"listen,required" doc:"Address and port for other copies only. They speak TLS with keys that derive from master_key."`
	Address secret.Text `yaml:"address,plain" doc:"Host and port at which other copies reach this one; by {env: NAME} where each copy has another. Without it: listen, which must then name an address."`
}

// Metrics says where metrics are served.
type Metrics struct {
	Listen string      `yaml:"listen" doc:"Address and port for those who scrape. Plain http."`
	Token  secret.Text `yaml:"token" doc:"Bearer token that they have to send. Without it, whoever reaches listen may read."`
}

// Log says how to log.
type Log struct {
	Format string     `yaml:"format" enum:"json,text" doc:"Format of the records."`
	Level  slog.Level `yaml:"level" doc:"Least severe level to write."`
}

// What happens to a call that cannot be recorded.
const (
	AuditStrict     = "strict"
	AuditBestEffort = "best_effort"
)

// Audit says how strictly records are kept.
type Audit struct {
	Mode string `yaml:"mode" enum:"strict,best_effort" doc:"What happens to a call that cannot be recorded, because the disk is full, faulty or hangs: with strict it is refused with 503 (a disk that is merely slow makes calls wait), with best_effort it is made, and the record that is lost is counted (gatehouse_audit_dropped_total). Either way records are gathered for 20 ms before they are brought to the disk together; a process that is killed loses those."`
}

// Limits bound one request, one session, and all sessions together.
type Limits struct {
	Body            ByteSize      `yaml:"body" doc:"Largest request body."`
	Answer          ByteSize      `yaml:"answer" doc:"Largest single message taken from a target."`
	Sessions        int           `yaml:"sessions" doc:"Live MCP sessions on this copy."`
	SessionIdle     time.Duration `yaml:"session_idle" doc:"An MCP session ends after this long without a request."`
	SessionLifetime time.Duration `yaml:"session_lifetime" doc:"An MCP session ends after this long in any case."`

	Processes          int `yaml:"processes" doc:"Processes of all targets that are commands."`
	ProcessesPerPerson int `yaml:"processes_per_person" doc:"Of these, processes of one person."`
}

// SignIn says how the built-in authorization server learns who a person is.
type SignIn struct {
	Users    bool           `yaml:"users" doc:"Built-in users, made with gatehouse user add."`
	Passkeys bool           `yaml:"passkeys" doc:"People may add passkeys to their account."`
	Session  BrowserSession `yaml:"session" doc:"How long a browser stays signed in."`
	OIDC     []OIDC         `yaml:"oidc" doc:"Identity providers at which people sign in, beside the built-in users or, with users: false, instead of them."`

	Unreachable string        `yaml:"idp_unreachable" enum:"keep,end" doc:"What a client's refresh gets while the identity provider does not answer. keep: new tokens, until 8 h after it last vouched for the person. end: none."`
	Recheck     time.Duration `yaml:"idp_recheck" doc:"A refresh asks the identity provider about the person when it was last asked longer ago than this."`
}

// BrowserSession bounds a sign-in at a browser.
type BrowserSession struct {
	Idle     time.Duration `yaml:"idle" doc:"Ends after this long without use."`
	Absolute time.Duration `yaml:"absolute" doc:"Ends after this long in any case."`
}

// Lifetimes of what the token endpoint issues. None is ever under MinLifetime.
type Lifetimes struct {
	AccessToken  time.Duration `yaml:"access_token_ttl" doc:"Lifetime of access tokens."`
	IDToken      time.Duration `yaml:"id_token_ttl" doc:"Lifetime of ID tokens."`
	RefreshToken time.Duration `yaml:"refresh_token_ttl" doc:"A grant ends this long after the person gave it, used or not."`
	RefreshIdle  time.Duration `yaml:"refresh_token_idle" doc:"A grant ends after this long without a refresh."`
}

// MinLifetime is the shortest lifetime of a token: clients refresh a minute early and would otherwise never rest.
const MinLifetime = 5 * time.Minute

// Registration says who may register a client by itself.
type Registration struct {
	Dynamic                bool     `yaml:"dynamic" doc:"Clients may register themselves (RFC 7591)."`
	DeviceCode             bool     `yaml:"device_code" doc:"Clients that registered themselves may use the device grant (RFC 8628), if they ask for it when they register."`
	RatePerMinute          int      `yaml:"rate_per_minute" doc:"Registrations a minute from one address."`
	PrivateRedirectSchemes []string `yaml:"private_redirect_schemes" doc:"Private-use URI schemes (RFC 8252 §7.1) that redirect URIs may have, such as cursor."`

	Documents ClientDocuments `yaml:"documents" doc:"Clients whose client_id is the https URL of a client ID metadata document."`
}

// ClientDocuments says which client ID metadata documents are read (draft-ietf-oauth-client-id-metadata-document).
type ClientDocuments struct {
	Enabled bool     `yaml:"enabled" doc:"Such clients are accepted. Without it: as dynamic says. Their documents are fetched from public addresses only, once somebody has signed in."`
	Hosts   []string `yaml:"hosts" doc:"The only hosts whose documents are read, such as claude.ai. Without it: every public host."`
	Trusted []string `yaml:"trusted_hosts" doc:"Hosts whose documents are read before anybody has signed in, so that the sign-in page can name the client. People are asked for consent all the same."`
}

// The values of Client.AuthMethod (RFC 7591 §2).
const (
	AuthNone       = "none"
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthPrivateKey = "private_key_jwt"
)

// The values of Client.GrantTypes.
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "urn:ietf:params:oauth:grant-type:device_code"

	GrantClientCredentials = "client_credentials"
	GrantIDJAG             = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// The values of Client.Consent.
const (
	ConsentAlways = "always"
	ConsentSkip   = "skip"
)

// Client is one static OAuth client of the built-in authorization server.
type Client struct {
	ClientID          identity.ClientID `yaml:"client_id,required" doc:"Identifier that the client sends."`
	Name              string            `yaml:"name" doc:"What the consent page calls it. Without it: client_id."`
	RedirectURIs      []string          `yaml:"redirect_uris" doc:"Where the client takes the code; needed for the grant authorization_code. Compared exactly; only the port of an http loopback URI is free."`
	PostLogoutURIs    []string          `yaml:"post_logout_redirect_uris" doc:"Where a browser may be sent after signing out; compared exactly (OpenID Connect RP-Initiated Logout §3)."`
	GrantTypes        []string          `yaml:"grant_types" enum:"authorization_code,refresh_token,urn:ietf:params:oauth:grant-type:device_code,client_credentials,urn:ietf:params:oauth:grant-type:jwt-bearer" doc:"Grants it may use. client_credentials is for a service, which acts as itself, and goes with no other. jwt-bearer is for assertions of an identity provider with id_jag."`
	AuthMethod        string            `yaml:"token_endpoint_auth_method" enum:"none,client_secret_basic,client_secret_post,private_key_jwt" doc:"How it authenticates at the token endpoint. With private_key_jwt it signs an assertion (RFC 7523 §2.2)."`
	Secret            secret.Text       `yaml:"client_secret" doc:"Its secret, for client_secret_basic and client_secret_post."`
	JWKS              secret.Text       `yaml:"jwks,plain" doc:"Its public keys for private_key_jwt, as a JWK set (RFC 7517) in JSON."`
	JWKSURI           string            `yaml:"jwks_uri" doc:"Where its public keys for private_key_jwt are fetched, instead of jwks. https, or http on this machine."`
	AssertionAlg      string            `yaml:"token_endpoint_auth_signing_alg" enum:"RS256,PS256,ES256,EdDSA" doc:"The only algorithm of its assertions. Without it: any of these."`
	Scopes            identity.Scopes   `yaml:"scopes" doc:"The most it can be granted. Without it: whatever the endpoint knows. Needed for a service."`
	Groups            []string          `yaml:"groups" doc:"Groups of a service, for claim rules."`
	Audience          string            `yaml:"audience" doc:"The aud of its access tokens, such as api://default. Without it: the endpoint that the client names as resource (RFC 8707)."`
	DPoPBound         bool              `yaml:"dpop_bound_access_tokens" doc:"It gets only tokens that are bound to a key of its own (DPoP, RFC 9449)."`
	CertificateBound  bool              `yaml:"tls_client_certificate_bound_access_tokens" doc:"It gets only tokens that are bound to the certificate which it shows at the token endpoint (RFC 8705). It authenticates besides."`
	AccessTokenClaims identity.Claims   `yaml:"access_token_claims" doc:"Fixed claims added to its access tokens, such as cid."`
	Lifetimes         `yaml:",inline"`
	Consent           string `yaml:"consent" enum:"always,skip" doc:"Whether the person is asked. skip needs https redirect URIs."`
}

// Authorizer is one rule set for tokens. Where several groups are set, all must be satisfied; of allowed_scopes any
// one suffices.
type Authorizer struct {
	Name             string              `yaml:"name,required" doc:"What endpoints call it. gatehouse is taken by the built-in issuer."`
	DiscoveryURL     string              `yaml:"discovery_url" doc:"Metadata of the issuer: a URL with /.well-known/openid-configuration or /.well-known/oauth-authorization-server."`
	AllowedAudience  []string            `yaml:"allowed_audience" doc:"The token's aud must name one of these. May be absent only when allowed_clients is set."`
	AllowedClients   []identity.ClientID `yaml:"allowed_clients" doc:"The token's client must be one of these."`
	AllowedScopes    identity.Scopes     `yaml:"allowed_scopes" doc:"The token must have at least one of these."`
	CustomClaims     []*identity.Rule    `yaml:"custom_claims" doc:"Conditions on further claims; all must hold."`
	AdvertisedScopes map[string]string   `yaml:"advertised_scopes" doc:"What clients are told to ask for in place of an allowed scope: {allowed: advertised}."`

	Introspection *Introspection `yaml:"introspection" doc:"Asks the issuer about tokens that are not JWTs (RFC 7662). Without it they are refused."`

	// AgentCore's own words for the same; translated at load, nil afterwards.
	Configuration       *AgentCoreConfiguration `yaml:"authorizerConfiguration" doc:"An AgentCore authorizerConfiguration, as it is, in place of the keys above."`
	CustomJWTAuthorizer *AgentCoreJWT           `yaml:"customJWTAuthorizer" doc:"An AgentCore customJWTAuthorizer, as it is, in place of the keys above."`
	AgentCoreFile       string                  `yaml:"agentcore_file,path" doc:"JSON file with one of the two, or with a whole AgentCore gateway."`
}

// Introspection says where to ask about opaque tokens, and as whom.
type Introspection struct {
	URL          string      `yaml:"url" doc:"Introspection endpoint. Without it: introspection_endpoint of the issuer's metadata."`
	ClientID     string      `yaml:"client_id,required" doc:"Client that Gatehouse asks as."`
	ClientSecret secret.Text `yaml:"client_secret,required" doc:"Its secret."`
	AuthMethod   string      `yaml:"auth_method" enum:"client_secret_basic,client_secret_post" doc:"How it authenticates."`
}

// Target is one thing behind Gatehouse that has tools: exactly one of URL, Command and Demo is set.
type Target struct {
	Name    string                 `yaml:",key"`
	URL     string                 `yaml:"url" doc:"MCP server over HTTP, of any revision: streamable HTTP or HTTP+SSE. Which one is found out."`
	Headers map[string]secret.Text `yaml:"headers,plain,prefix" doc:"Headers sent to url, such as its credential."`
	OAuth   *TargetOAuth           `yaml:"oauth" doc:"How Gatehouse itself gets access tokens for url, in place of a fixed Authorization header."`
	Command []string               `yaml:"command" doc:"MCP server over stdio: program and arguments."`
	Env     map[string]secret.Text `yaml:"env,plain" doc:"All environment variables of command but PATH, HOME and TMPDIR, which are there when they are not listed: Gatehouse's PATH, and its own directory."`
	Dir     string                 `yaml:"dir,path" doc:"Working directory of command. Without it: a directory of its own, empty at the start and removed at the end."`
	Demo    bool                   `yaml:"demo" doc:"The built-in demo target."`
	Prefix  string                 `yaml:"prefix" doc:"What stands before the names of its tools and prompts, such as gh_. Without it: the target's name and ___."`
	Timeout time.Duration          `yaml:"timeout" doc:"How long one call may take."`
	Calls   int                    `yaml:"max_calls" doc:"Calls to it at the same time. More wait for their turn, by person. Without it: no bound."`

	Home    string        `yaml:"home,path" doc:"Directory that keeps a home directory for each person, for what a server remembers of the person and what npx downloads. Without it: HOME is the directory of its own, and nothing is kept."`
	Shared  bool          `yaml:"shared" doc:"One process of command for everybody. Without it each person gets a process."`
	Idle    time.Duration `yaml:"idle_timeout" doc:"A process of command ends this long after it was last in use."`
	RunAs   string        `yaml:"run_as" doc:"User that command runs as: a name, or uid:gid. Needs Gatehouse to run as root. Without it: the user that runs Gatehouse."`
	Sandbox string        `yaml:"sandbox" enum:"required,optional,off" doc:"Keeps command from Gatehouse's own files and memory (Landlock). required: without that, or run_as, it does not start. optional: where the kernel can. off: never."`
	Files   *Files        `yaml:"files" doc:"The only files that command can open, beside the system's programs and its own directory. Without it: whatever is not Gatehouse's own."`
	Limits  ProcessLimits `yaml:"limits" doc:"Bounds on each process of command."`
}

// TargetOAuth is Gatehouse's own client at the authorization server of a target. It acts as a service: no person of
// Gatehouse is known there.
type TargetOAuth struct {
	Issuer       identity.Issuer   `yaml:"issuer,required" doc:"The authorization server at which the client below is registered, as its metadata names it. A target that asks for a token of another one gets none."`
	ClientID     identity.ClientID `yaml:"client_id,required" doc:"Gatehouse's client there, for the client credentials grant."`
	ClientSecret secret.Text       `yaml:"client_secret" doc:"Its secret, or instead of one:"`
	PrivateKey   *PrivateKey       `yaml:"private_key" doc:"The key with which Gatehouse signs its requests there (private_key_jwt)."`
	AuthMethod   string            `yaml:"auth_method" enum:"client_secret_basic,client_secret_post" doc:"How it authenticates with the secret. Without it: as the authorization server's metadata says."`
	Scopes       identity.Scopes   `yaml:"scopes" doc:"All that is ever asked for. Without it: what the target asks for, or lists in its metadata."`
	Parameters   map[string]string `yaml:"parameters" doc:"Further parameters of the token request, such as audience."`
	Resource     bool              `yaml:"send_resource" doc:"Token requests name the target (RFC 8707), so that a token is for nothing else. Off for authorization servers that refuse the parameter, such as Entra ID: there the scope names the target."`
	DPoP         bool              `yaml:"dpop" doc:"Tokens that are bound to a key of Gatehouse (RFC 9449), and no others."`
}

// Files are what a command may open.
type Files struct {
	Read  []string `yaml:"read,path" doc:"Files and directories to read and run."`
	Write []string `yaml:"write,path" doc:"Files and directories to read, run and change."`
}

// ProcessLimits bound a process (setrlimit(2)).
type ProcessLimits struct {
	OpenFiles int      `yaml:"open_files" doc:"Files and connections open at the same time."`
	Memory    ByteSize `yaml:"memory" doc:"Private memory. Without it: no bound."`
	Processes int      `yaml:"processes" doc:"Processes and threads of the user named in run_as, all together. Without it: no bound."`
}

// Endpoint is one MCP URL.
type Endpoint struct {
	Path           string            `yaml:",key"`
	Issuers        []string          `yaml:"issuers,required" doc:"Whose tokens it accepts: gatehouse, or names of authorizers. The first leads its metadata. Empty with anonymous_for_tests only."`
	Access         Access            `yaml:"access,required" doc:"Who may use it: any_signed_in, or a claim rule such as {claim: groups, operator: contains_any, value: [eng]}. There is no default. anonymous_for_tests admits whoever asks, for test suites that send no token, and is refused anywhere but on one machine."`
	Services       Services          `yaml:"services" doc:"Clients that may come as themselves, without a person, by issuer: {gatehouse: [ci]}. access holds for them too. Without it: none, whatever access says."`
	Scopes         EndpointScopes    `yaml:"scopes" doc:"Scopes that its calls need."`
	Targets        []string          `yaml:"targets,required" doc:"The targets that it offers."`
	Prefix         bool              `yaml:"prefix" doc:"Tools and prompts are called target___name, or with the target's own prefix. Without prefix, they are called what the target calls them."`
	Prefixes       map[string]string `yaml:"prefixes" doc:"What stands before the names of single targets here, by target, in place of that. Empty: nothing."`
	MarkURIs       bool              `yaml:"mark_uris" doc:"A resource URI that would lead to another target is shown with its own target's name in the fragment. Without marks, the first target that offers a URI owns it."`
	DPoP           string            `yaml:"dpop" enum:"offered,required" doc:"Whether tokens must be bound to a key of the client (RFC 9449). One that is bound needs a proof in any case."`
	AllowedOrigins []Origin          `yaml:"allowed_origins" doc:"Web origins that may call this endpoint, beside those for all."`
	Search         *ToolSearch       `yaml:"search" doc:"Adds the tool search_tools, which finds tools by what somebody wants to do. search: {} is enough."`
}

// The values of ToolSearch.List.
const (
	ListAll    = "all"
	ListSearch = "search"
)

// ToolSearch says how the tools of an endpoint are found.
type ToolSearch struct {
	List       string   `yaml:"list" enum:"all,search" doc:"What tools/list shows: all tools, or search_tools, call_tool, call_read_only_tool and what is pinned. All others can be called nevertheless."`
	Pinned     []string `yaml:"pinned" doc:"Tools that the short list shows too, by the names that clients see."`
	AgentCore  bool     `yaml:"agentcore_name" doc:"The search is called x_amz_bedrock_agentcore_search too, as in Amazon Bedrock AgentCore."`
	Limit      int      `yaml:"limit" doc:"How many tools a search finds, unless the client asks for another number; at most 50."`
	Embeddings bool     `yaml:"embeddings" doc:"Ranks by meaning too, with embeddings. Descriptions of tools and what people search for go there."`
}

// Embeddings names an endpoint that turns texts into vectors.
type Embeddings struct {
	URL        string        `yaml:"url,required" doc:"Of the API, such as https://api.openai.com/v1, as OpenAI, Ollama, vLLM and others have it."`
	Model      string        `yaml:"model,required" doc:"Name of the model."`
	APIKey     secret.Text   `yaml:"api_key" doc:"Its key, sent as a bearer token."`
	Dimensions int           `yaml:"dimensions" doc:"Length of the vectors, for models that let one choose."`
	Timeout    time.Duration `yaml:"timeout" doc:"How long a search waits for it. Then words alone count."`
}

// The values of Endpoint.DPoP.
const (
	DPoPOffered  = "offered"
	DPoPRequired = "required"
)

// DPoP says how fresh proofs of possession have to be.
type DPoP struct {
	Nonce string `yaml:"nonce" enum:"token_endpoint,everywhere,nowhere" doc:"Where a proof must carry a nonce of Gatehouse's, which shows that it was made in the last minutes. A nonce that is there is checked in any case."`
}

// The values of DPoP.Nonce.
const (
	NonceTokenEndpoint = "token_endpoint"
	NonceEverywhere    = "everywhere"
	NonceNowhere       = "nowhere"
)

// Access is an endpoint's access rule: exactly one of the three is set.
type Access struct {
	AnySignedIn bool
	Anonymous   bool // for tests on one machine: no token is looked at
	Rule        *identity.Rule
}

// Services are clients by the name of the issuer, as in Endpoint.Issuers.
type Services map[string][]identity.ClientID

// EndpointScopes are the scopes that calls need.
type EndpointScopes struct {
	Advertised identity.Scopes            `yaml:"advertised" doc:"What clients are told to ask for beside default, though no call needs it, such as openid."`
	Default    identity.Scopes            `yaml:"default" doc:"What the first challenge asks for, and what every call with a token of gatehouse needs. Without it: mcp:tools when gatehouse is the only issuer, else nothing."`
	Tools      map[string]identity.Scopes `yaml:"tools" doc:"What a call of a tool needs beside that, by the name that clients see."`
	Methods    map[string]identity.Scopes `yaml:"methods" doc:"What a method needs beside that, such as resources/read."`
}

// PrefixOf returns what stands before a target's names at an endpoint.
func (c *Config) PrefixOf(e *Endpoint, target string) string {
	if prefix, ok := e.Prefixes[target]; ok {
		return prefix
	}
	if !e.Prefix {
		return ""
	}
	for i := range c.Targets {
		if t := &c.Targets[i]; t.Name == target && t.Prefix != "" {
			return t.Prefix
		}
	}
	return target + "___"
}

// Issuer is the issuer identifier of the built-in authorization server: the public origin.
func (c *Config) Issuer() identity.Issuer { return identity.Issuer(c.PublicURL) }

// Resource is the URL of an endpoint, as clients type it and as tokens name it (RFC 8707).
func (c *Config) Resource(path string) string { return string(c.PublicURL) + path }

// IsOwn reports whether a discovery URL is that of the built-in authorization server, however it is spelled: tokens of
// our own are held to more than those of a stranger.
func (c *Config) IsOwn(discoveryURL string) bool {
	u, err := url.Parse(discoveryURL)
	if err != nil {
		return false
	}
	origin, err := parseOrigin(u.Scheme + "://" + u.Host)
	clean := path.Clean(u.Path)
	return err == nil && origin == c.PublicURL && (clean == wellKnownOpenID || clean == wellKnownOAuth)
}

// MasterKeyBytes returns the master keys, newest first, for the keyring.
func (c *Config) MasterKeyBytes() [][]byte {
	keys := make([][]byte, 0, len(c.MasterKeys))
	for _, k := range c.MasterKeys {
		keys = append(keys, []byte(k.Reveal()))
	}
	return keys
}

// reservedPaths are the first path segments that endpoints may not have, because Gatehouse's own routes live there.
func reservedPaths() []string {
	return []string{
		"/.well-known", "/account", "/admin", "/authorize", "/consent", "/device", "/device_authorization", "/healthz",
		"/introspect", "/jwks", "/livez", "/metrics", "/oauth", "/readyz", "/register", "/revoke", "/signin", "/signout",
		"/static", "/token", "/userinfo",
	}
}
