package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/authn"
	"gatehouse/internal/config"
	"gatehouse/internal/gateway"
)

// watchEvery is how often the configuration file is looked at.
const watchEvery = time.Second

// apply makes a configuration take effect: everything that can fail comes first, then the swaps. What it replaces ends
// in the background, when the calls that began on it have ended.
func (a *App) apply(ctx context.Context, c *config.Config) error {
	targets, err := a.targets.plan(c)
	if err != nil {
		return err
	}
	remote, err := a.issuers.plan(c)
	if err != nil {
		return err
	}
	providers, err := a.providers.plan(c)
	if err != nil {
		return err
	}
	signIn := signInSettings(c, providers)
	if err := signIn.Check(); err != nil {
		return err
	}
	vectors, err := a.vectors.plan(c, a.Log)
	if err != nil {
		return err
	}
	endpoints, snapshot, err := a.planEndpoints(c, remote, targets, vectors)
	if err != nil {
		return err
	}
	site, err := a.plan(c, endpoints)
	if err != nil {
		return err
	}
	clients, err := authServerSnapshot(c, remote)
	if err != nil {
		return err
	}
	unused, err := a.gateway.Swap(snapshot)
	if err != nil {
		return err
	}
	if err := a.authsrv.Swap(clients); err != nil { // never: the snapshot was checked
		return err
	}
	if err := a.signin.Swap(signIn); err != nil { // never, after Check
		return err
	}
	routes := a.newRoutes(site)
	a.endpoints.Store(&endpoints)
	a.vectors = vectors
	a.config.Store(c)
	a.routes.Store(&routes)
	a.Level.Set(c.Log.Level)
	a.targets.places.Resize(c.Limits.Processes, c.Limits.ProcessesPerPerson)
	for _, doubt := range Doubts(c) {
		a.Log.Warn("this machine", "doubt", doubt)
	}
	a.targets.retire(a.targets.adopt(ctx, targets), unused)
	return errors.Join(stopAll(a.providers.adopt(ctx, providers)), stopAll(a.issuers.adopt(ctx, remote)))
}

// planEndpoints makes both halves of each endpoint: who gets in, and what is behind it.
func (a *App) planEndpoints(c *config.Config, remote *issuers, targets map[string]*running, v vectors) ([]*authn.Endpoint, gateway.Snapshot, error) {
	var endpoints []*authn.Endpoint
	var snapshot gateway.Snapshot
	for _, e := range c.Endpoints {
		ae, err := authnEndpoint(c, e, a.keys, remote)
		if err != nil {
			return nil, snapshot, err
		}
		ge, err := gatewayEndpoint(c, &e, targets, v.embedder())
		if err != nil {
			return nil, snapshot, err
		}
		ge.Auth = tokenCheck{a.authn, ae}
		endpoints, snapshot.Endpoints = append(endpoints, ae), append(snapshot.Endpoints, ge)
	}
	return endpoints, snapshot, nil
}

// gatewayEndpoint translates an endpoint's targets and policy.
func gatewayEndpoint(c *config.Config, e *config.Endpoint, targets map[string]*running, vectors gateway.Embedder) (gateway.Endpoint, error) {
	p, err := policyOf(c, e)
	if err != nil {
		return gateway.Endpoint{}, err
	}
	out := gateway.Endpoint{Path: e.Path, Prefixes: make(map[string]string, len(e.Targets)), OwnURIs: !e.MarkURIs, Policy: p}
	for _, name := range e.Targets {
		r := targets[name]
		if r == nil {
			return gateway.Endpoint{}, fmt.Errorf("endpoint %s: there is no target %q", e.Path, name)
		}
		out.Targets = append(out.Targets, r.Target)
		out.Prefixes[name] = c.PrefixOf(e, name)
	}
	if s := e.Search; s != nil {
		out.Search = &gateway.Search{Only: s.List == config.ListSearch, Pinned: s.Pinned, AgentCore: s.AgentCore, Limit: s.Limit}
		if s.Embeddings {
			out.Search.Vectors = vectors
		}
	}
	return out, nil
}

// watch reads the configuration again when its content changes or hup fires. A bad one changes nothing.
func (a *App) watch(ctx context.Context, hup <-chan os.Signal) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		case <-ticker.C:
			now := fingerprint(a.File)
			if now == nil || bytes.Equal(now, a.seen) {
				continue
			}
		}
		a.seen = fingerprint(a.File)
		a.reload(ctx)
	}
}

// fingerprint is nil while the file cannot be read, as between the two halves of an editor's save.
func fingerprint(path string) []byte {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(raw)
	return sum[:]
}

func (a *App) reload(ctx context.Context) {
	mark := configMark(a.state.Keys, a.File)
	c, err := config.Load(a.File)
	if err == nil {
		err = fixed(a.config.Load(), c)
	}
	if err == nil {
		err = a.apply(ctx, c)
	}
	if err == nil {
		err = errors.Join(a.server.ReloadTLS(), a.audit.Record(ctx, audit.Event{Kind: audit.KindReload}))
	}
	a.metrics.Configured(false, err, a.Now())
	if err != nil {
		a.Log.Error("configuration not reloaded; the one in force stays", "file", a.File, "error", err)
		return
	}
	a.mark.Store(&mark)
	a.Log.Info("configuration reloaded", "file", a.File)
}

// fixed refuses changes that only a restart can make.
func fixed(old, next *config.Config) error {
	var faults []error
	unchanged := func(same bool, key string) {
		if !same {
			faults = append(faults, fmt.Errorf("%s has changed; restart Gatehouse for that", key))
		}
	}
	unchanged(old.PublicURL == next.PublicURL, "public_url")
	unchanged(old.Listen == next.Listen, "listen")
	unchanged(old.StateDir == next.StateDir, "state_dir")
	unchanged(old.Database.Reveal() == next.Database.Reveal(), "database")
	unchanged((old.TLS == nil) == (next.TLS == nil) && (old.TLS == nil || *old.TLS == *next.TLS), "tls")
	unchanged(reflect.DeepEqual(old.Copies, next.Copies), "copies")
	unchanged(reflect.DeepEqual(old.Metrics, next.Metrics), "metrics")
	unchanged(old.Audit == next.Audit, "audit")
	unchanged(reflect.DeepEqual(old.MasterKeys, next.MasterKeys), "master_key")
	unchanged(old.SignIn.Passkeys == next.SignIn.Passkeys, "sign_in.passkeys")
	unchanged(old.SignIn.Session == next.SignIn.Session, "sign_in.session")
	unchanged(old.Registration.RatePerMinute == next.Registration.RatePerMinute, "registration.rate_per_minute")
	return errors.Join(faults...)
}
