package app

import (
	"cmp"
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"gatehouse/internal/portal"
	"gatehouse/internal/target"
	"gatehouse/internal/web"
)

// databaseHealth is degraded while the database is away: verified tokens keep working until max_stale has passed.
func (a *App) databaseHealth() web.Dependency {
	return web.Dependency{Name: "database", Check: func(ctx context.Context) (web.State, string) {
		err := a.state.Store.Ping(ctx)
		switch {
		case err == nil:
			return web.OK, ""
		case revocations{a}.Current(a.Now()):
			return web.Degraded, err.Error()
		}
		return web.Down, err.Error()
	}}
}

// auditHealth is down when calls are refused because they cannot be recorded.
func (a *App) auditHealth() web.Dependency {
	return web.Dependency{Name: "audit records", Check: func(context.Context) (web.State, string) {
		if err := a.audit.Fault(); err != nil {
			return web.Down, err.Error()
		}
		return web.OK, ""
	}}
}

// targetsNow says how the targets are, for the pages of the portal.
func (a *App) targetsNow() []portal.Target {
	kinds := map[string]string{}
	for _, t := range a.config.Load().Targets {
		switch u, err := url.Parse(t.URL); {
		case t.Command != nil:
			kinds[t.Name] = "command " + filepath.Base(t.Command[0])
		case t.Demo:
			kinds[t.Name] = "demo"
		case err == nil:
			kinds[t.Name] = u.Host
		}
	}
	var out []portal.Target
	for _, t := range a.targets.all() {
		h := t.Health()
		one := portal.Target{Name: t.Name(), Kind: kinds[t.Name()], State: string(h.State), Since: h.Since, Error: h.LastError, Processes: t.Processes()}
		if c := t.Latest(); c != nil {
			one.Revision = string(c.Revision)
			one.Tools, one.Prompts, one.Resources = len(c.Tools), len(c.Prompts), len(c.Resources)
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(x, y portal.Target) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// targetsHealth is degraded when a target is down, and never worse: the others go on.
func (a *App) targetsHealth() web.Dependency {
	return web.Dependency{Name: "targets", Check: func(context.Context) (web.State, string) {
		var down []string
		for _, t := range a.targets.all() {
			if h := t.Health(); h.State == target.Offline {
				down = append(down, t.Name()+" is down")
			}
		}
		if len(down) > 0 {
			return web.Degraded, strings.Join(down, ", ")
		}
		return web.OK, ""
	}}
}

// providersHealth is degraded when people cannot sign in at an identity provider: those who are signed in go on.
func (a *App) providersHealth() web.Dependency {
	return web.Dependency{Name: "identity providers", Check: func(context.Context) (web.State, string) {
		var troubles []string
		for _, t := range a.signin.Troubles() {
			troubles = append(troubles, t.Provider+": "+t.Text)
		}
		if len(troubles) > 0 {
			return web.Degraded, strings.Join(troubles, ", ")
		}
		return web.OK, ""
	}}
}
