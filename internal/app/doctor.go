package app

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/doctor"
	"gatehouse/internal/seal"
	"gatehouse/internal/web"
)

// DoctorOptions say how to look at an installation.
type DoctorOptions struct {
	File        string // the configuration file; empty for the quickstart
	BeforeStart bool   // Gatehouse does not run yet
	Version     string
	RedirectURI string         // of an MCP client, for a sign-in at providers that clients are sent to
	RootCAs     *x509.CertPool // nil: the system's
	Progress    doctor.Progress
}

// Doctor looks at the installation that a configuration describes. It changes nothing.
func Doctor(ctx context.Context, c *config.Config, o DoctorOptions) ([]doctor.Finding, error) {
	return doctor.Run(ctx, doctorSetup(c, o), o.Progress)
}

func doctorSetup(c *config.Config, o DoctorOptions) doctor.Setup {
	s := doctor.Setup{
		PublicURL: string(c.PublicURL), Listen: c.Listen, BehindProxy: c.BehindTLSProxy, CertHeader: c.CertHeader,
		Registration: c.Registration.Dynamic, BodyLimit: int64(c.Limits.Body), BeforeStart: o.BeforeStart, RootCAs: o.RootCAs,
		RedirectURI: o.RedirectURI, Providers: providersOf(c),
		Client: web.NewClient(web.FenceAdmin, web.ClientOptions{RootCAs: o.RootCAs}),
		State:  doctor.State{Dir: c.StateDir, Audit: filepath.Join(c.StateDir, "audit"), Database: c.Database},
	}
	if c.Copies != nil {
		s.Copies = c.Copies.Address.Reveal()
	}
	if c.TLS != nil {
		s.CertFile = c.TLS.CertFile
	}
	for _, p := range s.Providers {
		if p.SignIn != nil {
			p.SignIn.Client, p.SignIn.Now, p.SignIn.Log = s.Client, time.Now, slog.New(slog.DiscardHandler)
		}
	}
	s.State.Keys, s.State.KeysError = existingKeyring(c)
	s.Config = configMark(s.State.Keys, o.File)
	for _, e := range c.Endpoints {
		one := doctor.Endpoint{Path: e.Path, Own: len(e.Issuers) > 0 && e.Issuers[0] == config.Gatehouse, DPoP: e.DPoP == config.DPoPRequired, Open: e.Access.Anonymous}
		if origins := slices.Concat(e.AllowedOrigins, c.AllowedOrigins); len(origins) > 0 {
			one.Origin = string(origins[0])
		}
		s.Endpoints = append(s.Endpoints, one)
	}
	for _, cl := range c.Clients {
		s.Clients = append(s.Clients, doctor.Client{ID: cl.ClientID, RedirectURIs: cl.RedirectURIs})
	}
	roots := web.ClientOptions{RootCAs: o.RootCAs}
	targets := &targetSet{client: web.NewTargetClient(roots), near: web.NewClient(web.FenceAdmin, roots), far: web.NewClient(web.FencePublic, roots),
		log: slog.New(slog.DiscardHandler), now: time.Now, version: o.Version}
	for _, t := range c.Targets {
		one, err := targets.options(t, ownFiles(c), int(c.Limits.Answer))
		if err != nil {
			continue // check has said what is wrong with it
		}
		s.Targets = append(s.Targets, one)
	}
	return s
}

// providersOf lists the issuers of others, for whatever they are used.
func providersOf(c *config.Config) []doctor.Provider {
	var out []doctor.Provider
	for i, o := range c.SignIn.OIDC {
		client := o.Client(c.PublicURL)
		out = append(out, doctor.Provider{Name: o.Name, Setting: fmt.Sprintf("sign_in.oidc[%d]", i), DiscoveryURL: o.DiscoveryURL, SignIn: &client})
	}
	for i, a := range c.Authorizers {
		if c.IsOwn(a.DiscoveryURL) {
			continue
		}
		p := doctor.Provider{
			Name: a.Name, Setting: fmt.Sprintf("authorizers[%d]", i), DiscoveryURL: a.DiscoveryURL,
			Audience: len(a.AllowedAudience) > 0, Clients: a.AllowedClients,
		}
		for _, e := range c.Endpoints {
			if len(e.Issuers) > 0 && e.Issuers[0] == a.Name {
				p.Leads = append(p.Leads, e.Path)
			}
		}
		if in := a.Introspection; in != nil {
			p.Introspection = &doctor.Introspection{URL: in.URL, ClientID: in.ClientID, ClientSecret: in.ClientSecret, Post: in.AuthMethod == config.AuthPost}
		}
		out = append(out, p)
	}
	return out
}

// existingKeyring is keyring without making a key: before the first start of the quickstart there is none.
func existingKeyring(c *config.Config) (*seal.Keyring, error) {
	if c.Quickstart {
		if _, err := os.Stat(filepath.Join(c.StateDir, masterKeyFile)); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return keyring(c)
}

// configMark stands for the content of a configuration file, and tells nothing about it to those without the master key.
func configMark(keys *seal.Keyring, file string) string {
	raw, err := os.ReadFile(file)
	if keys == nil || err != nil {
		return ""
	}
	return hex.EncodeToString(keys.MAC("doctor configuration").Sum(raw)[:16])
}
