package config

import (
	"log/slog"
	"path/filepath"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/loopback"
	"gatehouse/internal/secret"
)

const (
	wellKnownOpenID = "/.well-known/openid-configuration"
	wellKnownOAuth  = "/.well-known/oauth-authorization-server"
)

// maxFile bounds every file that the configuration is read from.
const maxFile = 1 << 20

// defaultScope is what clients ask for at an endpoint of the built-in issuer, unless it says otherwise.
const defaultScope = "mcp:tools"

// setDefaults fills a part of the configuration before its part of the file is read. It is the one place where
// defaults stand; those that follow from other settings are in derive.
func setDefaults(v any) {
	switch c := v.(type) {
	case *Config:
		c.Listen = "127.0.0.1:8080"
		c.MaxStale = 5 * time.Minute
		c.Log = Log{Format: "json", Level: slog.LevelInfo}
		c.Audit = Audit{Mode: AuditStrict}
		c.Limits = Limits{
			Body: 4 << 20, Answer: 32 << 20,
			Sessions: 10_000, SessionIdle: 30 * time.Minute, SessionLifetime: 24 * time.Hour,
			Processes: 256, ProcessesPerPerson: 32,
		}
		c.SignIn = SignIn{
			Users: true, Passkeys: true,
			Session:     BrowserSession{Idle: 12 * time.Hour, Absolute: 7 * 24 * time.Hour},
			Unreachable: UnreachableKeep, Recheck: 5 * time.Minute,
		}
		c.Tokens = Lifetimes{ // those of the walkthrough, and an idle bound
			AccessToken: time.Hour, IDToken: time.Hour,
			RefreshToken: 90 * 24 * time.Hour, RefreshIdle: 30 * 24 * time.Hour,
		}
		c.DPoP = DPoP{Nonce: NonceTokenEndpoint}
		c.Registration = Registration{Dynamic: true, DeviceCode: true, RatePerMinute: 30, Documents: ClientDocuments{Enabled: true}}
	case *Metrics:
		c.Listen = "127.0.0.1:9464"
	case *Client:
		c.GrantTypes = []string{GrantCode, GrantRefresh}
		c.AuthMethod = AuthNone
		c.Consent = ConsentAlways
	case *Introspection:
		c.AuthMethod = AuthBasic
	case *Target:
		c.Timeout = 5 * time.Minute
		c.Idle = 10 * time.Minute
		c.Sandbox = "required"
		c.Limits.OpenFiles = 4096
	case *ToolSearch:
		c.List, c.Limit = ListAll, 10
	case *Embeddings:
		c.Timeout = 500 * time.Millisecond
	case *TargetOAuth:
		c.Resource = true
	case *Endpoint:
		c.Prefix, c.MarkURIs, c.DPoP = true, true, DPoPOffered
	}
}

// derive fills what follows from other settings, once the whole file is read.
func derive(c *Config) {
	if c.PublicURL == "" {
		if host, port, err := splitListen(c.Listen); err == nil && port != 0 && loopback.Is(host) {
			c.PublicURL = loopbackOrigin(c.TLS != nil, port)
		}
	}
	if c.Database.IsZero() && c.StateDir != "" {
		c.Database = secret.New(filepath.Join(c.StateDir, "gatehouse.db"))
	}
	if c.Copies != nil && c.Copies.Address.IsZero() {
		if host, _, err := splitListen(c.Copies.Listen); err == nil && !unspecified(host) {
			c.Copies.Address = secret.New(c.Copies.Listen)
		}
	}
	c.Tokens.inherit(c.Tokens)
	for i := range c.Clients {
		cl := &c.Clients[i]
		if cl.Name == "" {
			cl.Name = string(cl.ClientID)
		}
		cl.inherit(c.Tokens)
	}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		if e.Scopes.Default == nil && len(e.Issuers) == 1 && e.Issuers[0] == Gatehouse {
			e.Scopes.Default = identity.Scopes{defaultScope}
		}
	}
}

// inherit fills the lifetimes that a client leaves open.
func (l *Lifetimes) inherit(from Lifetimes) {
	for _, p := range []struct {
		own *time.Duration
		def time.Duration
	}{
		{&l.AccessToken, from.AccessToken}, {&l.IDToken, from.IDToken},
		{&l.RefreshToken, from.RefreshToken}, {&l.RefreshIdle, from.RefreshIdle},
	} {
		if *p.own == 0 {
			*p.own = p.def
		}
	}
	l.RefreshIdle = min(l.RefreshIdle, l.RefreshToken)
}
