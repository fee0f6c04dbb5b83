package app

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/clientconfig"
	"gatehouse/internal/config"
	"gatehouse/internal/doctor"
	"gatehouse/internal/page"
	"gatehouse/internal/portal"
	"gatehouse/internal/web"
)

// bodyTime is how long a client may take to send a request body.
const bodyTime = 30 * time.Second

// site is what the routes of one configuration need beside the parts that all configurations share.
type site struct {
	config    *config.Config
	endpoints []*authn.Endpoint
	origins   []web.Origins // of each endpoint: from where browsers may call it
	people    *portal.Portal
}

// plan prepares the routes of a configuration: it does all of it that can fail, so that newRoutes cannot.
func (a *App) plan(c *config.Config, endpoints []*authn.Endpoint) (*site, error) {
	s := &site{config: c, endpoints: endpoints}
	for _, e := range c.Endpoints {
		list := web.OwnOrigins(c.PublicURL.URL(), c.Listen)
		for _, o := range slices.Concat(c.AllowedOrigins, e.AllowedOrigins) {
			list = append(list, string(o))
		}
		origins, err := web.ParseOrigins(list...)
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", e.Path, err)
		}
		s.origins = append(s.origins, origins)
	}
	var err error
	s.people, err = a.newPortal(c)
	return s, err
}

// newRoutes is the only list of routes. Each group has its own defences: programs get JSON and no cookies, people get
// pages fenced in by a content policy, MCP endpoints get a token check before anything is read.
func (a *App) newRoutes(s *site) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", a.health.Livez)
	mux.HandleFunc("GET /readyz", a.health.Readyz)
	mux.HandleFunc("GET /healthz", a.health.Healthz)

	// For programs: the authorization server's API, and metadata.
	for _, r := range a.authsrv.APIRoutes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	for _, r := range a.signin.APIRoutes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	metadata := authn.MetadataHandler(func() []*authn.Endpoint { return s.endpoints })
	mux.Handle(protectedResource, metadata)
	mux.Handle(protectedResource+"/", metadata)

	// For people: pages.
	mux.Handle("GET /static/", page.Static())
	for _, r := range a.authsrv.BrowserRoutes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	if s.config.SignIn.Users || len(s.config.SignIn.OIDC) > 0 {
		for _, r := range a.signin.Routes() {
			mux.Handle(r.Pattern, r.Handler)
		}
	}
	for _, r := range s.people.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}

	// The MCP endpoints.
	endpoints := make(map[string]http.Handler, len(s.config.Endpoints))
	for i, e := range s.config.Endpoints {
		endpoints[e.Path] = web.CORS(s.origins[i])(a.gateway.Handler(e.Path))
		mux.Handle(e.Path, endpoints[e.Path])
		mux.Handle(e.Path+protectedResource, metadata)
	}
	return a.front(s, straight(endpoints, mux))
}

// straight sends requests for MCP endpoints, which are nearly all requests, to the handler that mux would find for them, and
// spares them the search. No other route has the path of an endpoint: see config.reservedPaths.
func straight(endpoints map[string]http.Handler, mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := endpoints[r.URL.Path]
		if h == nil || r.URL.RawPath != "" || r.Method == http.MethodConnect {
			mux.ServeHTTP(w, r)
			return
		}
		r.Pattern = r.URL.Path
		h.ServeHTTP(w, r)
	})
}

// protectedResource is the well-known path of RFC 9728 §3.
const protectedResource = "/.well-known/oauth-protected-resource"

// front wraps the routes into what every request goes through first, in this order.
func (a *App) front(s *site, routes http.Handler) http.Handler {
	public, proxies := s.config.PublicURL.URL(), web.Proxies(s.config.TrustedProxies)
	if s.config.BehindTLSProxy {
		routes = exceptProbes(web.ProxyOnly(proxies))(routes)
	}
	certificates := func(next http.Handler) http.Handler { return next }
	if header := s.config.CertHeader; header != "" {
		certificates = web.WithClientCertificate(header, proxies)
	}
	return web.Chain(routes,
		web.WithRequestID,
		web.WithClientIP(proxies),
		certificates,
		web.Record(a.Log, a.Now, a.requestsTold()),
		web.Recover(a.Log),
		doctor.Answer(doctor.AnswerOptions{Keys: a.state.Keys, Now: time.Now, Version: a.Version, Config: func() string { return *a.mark.Load() }}),
		web.SecurityHeaders(public.Scheme == "https"),
		exceptProbes(web.HostCheck(web.OwnHosts(public, s.config.Listen))),
		web.LimitBody(int64(s.config.Limits.Body), bodyTime),
	)
}

// exceptProbes leaves the health endpoints out of a middleware: probes come by address, not by name.
func exceptProbes(m web.Middleware) web.Middleware {
	return func(next http.Handler) http.Handler {
		guarded := m(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/livez", "/readyz", "/healthz":
				next.ServeHTTP(w, r)
			default:
				guarded.ServeHTTP(w, r)
			}
		})
	}
}

// newPortal makes the pages about what can be connected to.
func (a *App) newPortal(c *config.Config) (*portal.Portal, error) {
	o := portal.Options{SignIn: a.signin, Store: a.state.Store, Log: a.Log, Audit: a.audit, Now: a.Now}
	o.Issuer, o.Administrators, o.Explain, o.Targets = c.Issuer(), c.Administrators, a.explain, a.targetsNow
	for _, e := range c.Endpoints {
		o.Endpoints = append(o.Endpoints, portal.Endpoint{Path: e.Path, Open: e.Access.Anonymous, URL: c.Resource(e.Path), Targets: e.Targets})
	}
	for _, name := range []string{"kiro", "vscode", "cursor", "claude-code", "mcp-remote"} {
		r, err := clientconfig.Render(name, clientconfig.Options{Name: "gatehouse", URL: c.Resource(c.Endpoints[0].Path)})
		if err != nil {
			return nil, err
		}
		o.Guides = append(o.Guides, guideOf(r))
	}
	return portal.New(o)
}

// guideOf shows a client's configuration on the home page.
func guideOf(r clientconfig.Result) portal.Guide {
	g := portal.Guide{Client: r.Title, Text: r.Content, Link: r.Link}
	if len(r.Places) > 0 {
		g.Where = r.Places[0].Path
	}
	return g
}
