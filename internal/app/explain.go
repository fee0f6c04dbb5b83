package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// Explain says why an endpoint accepts or refuses a token, shown in that way. Without a path it is the only endpoint that
// there is.
func (a *Admin) Explain(ctx context.Context, path, token string, how authn.Shown) (*authn.Explanation, error) {
	e, err := a.authnEndpoint(ctx, path)
	if err != nil {
		return nil, err
	}
	if e.Anonymous {
		return nil, fmt.Errorf("endpoint %s looks at no token (access: anonymous_for_tests)", e.Path)
	}
	if err := a.state.Store.LoadRevocations(ctx); err != nil {
		return nil, err
	}
	return authn.Explain(ctx, token, e, authn.ExplainOptions{Now: time.Now(), Revocations: loadedRevocations{a.state.Store}, Shown: how}), nil
}

// explain says for an administrator's page why an endpoint, by its path, accepts or refuses a token.
func (a *App) explain(ctx context.Context, path, token string) *authn.Explanation {
	e := &authn.Endpoint{Path: path} // one that is gone accepts nobody
	for _, known := range *a.endpoints.Load() {
		if known.Path == path {
			e = known
		}
	}
	return authn.Explain(ctx, token, e, authn.ExplainOptions{Now: a.Now(), Revocations: revocations{a}})
}

// authnEndpoint makes an endpoint as the server does.
func (a *Admin) authnEndpoint(ctx context.Context, path string) (*authn.Endpoint, error) {
	own, err := a.state.SigningKeys(ctx, a.c, a.log, time.Now)
	if err != nil {
		return nil, err
	}
	sets := &keySets{client: web.NewClient(web.FenceAdmin, web.ClientOptions{}), log: a.log, now: time.Now}
	remote, err := sets.plan(a.c)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, e := range a.c.Endpoints {
		if e.Path == path || path == "" && len(a.c.Endpoints) == 1 {
			return authnEndpoint(a.c, e, own, remote)
		}
		known = append(known, e.Path)
	}
	if path == "" {
		return nil, fmt.Errorf("there are several endpoints; name one with --endpoint: %s", strings.Join(known, ", "))
	}
	return nil, fmt.Errorf("there is no endpoint %q; there are %s", path, strings.Join(known, ", "))
}

// loadedRevocations answers from what was just read.
type loadedRevocations struct{ *store.Store }

// Current implements authn.Revocations.
func (loadedRevocations) Current(time.Time) bool { return true }
