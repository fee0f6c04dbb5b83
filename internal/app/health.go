package app

import (
	"context"
	"strings"

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
		case revocations{a}.Current():
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
