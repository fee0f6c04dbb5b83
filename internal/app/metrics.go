package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/loopback"
	"gatehouse/internal/target"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/web"
)

// What is counted comes from two places that know everything about what happened: the log record of each request, and
// the audit events. What the metrics are called and what they mean stands in internal/telemetry/metrics.go.

// countRequest counts a request by its log record.
func countRequest(m *telemetry.Metrics, e web.Ended) {
	var endpoint, method, era, to, reason string
	called, failed, unauthorized := false, false, false
	for i := range e.Notes {
		note := &e.Notes[i]
		switch note.Key {
		case "endpoint":
			endpoint = note.Value.String()
		case "mcp_method":
			method = note.Value.String()
		case "era":
			era = note.Value.String()
		case "target":
			to = note.Value.String()
		case "reason":
			reason = note.Value.String()
		case "outcome":
			called = true
		case "rpc_error":
			failed = true
		case "auth_refused":
			unauthorized = true
		}
	}
	m.HTTP(e.Route, e.Status, reason)
	if endpoint == "" {
		return
	}
	if called && method != "batch" {
		m.Answered(endpoint, to, e.Took)
	}
	outcome := "ok"
	switch {
	case e.Status >= 500:
		outcome = "failed"
	case unauthorized:
		outcome = "unauthorized"
	case e.Status >= 400:
		outcome = "refused"
	case failed:
		outcome = "error"
	}
	switch {
	case method == "" && (e.Method == http.MethodGet || e.Method == http.MethodDelete): // only sessions have them
		method, era = e.Method, "session"
	case method == "":
		method, era = "unread", "unknown"
	case era == "":
		era = "session"
	}
	m.Request(endpoint, method, era, outcome)
}

// countEvent counts what an audit event tells.
func countEvent(m *telemetry.Metrics, e audit.Event) {
	m.Event(string(e.Kind))
	provider := cmp.Or(e.Provider, "built-in")
	switch e.Kind {
	case audit.KindCall:
		if e.Decision == audit.Allow {
			m.Call(e.Endpoint, e.Target, e.Outcome, e.Duration)
		}
	case audit.KindSignIn:
		m.SignIn(provider, true)
	case audit.KindSignInFailed:
		m.SignIn(provider, false)
	case audit.KindIssue:
		m.Tokens(cmp.Or(e.Method, "authorization_code"))
	case audit.KindRefresh:
		m.Tokens("refresh_token")
	}
}

// requestsTold is where log records go to be counted; nil when nobody wants metrics.
func (a *App) requestsTold() func(web.Ended) {
	if a.metrics == nil {
		return nil
	}
	return func(e web.Ended) { countRequest(a.metrics, e) }
}

// eventsTold is where audit events go to be counted.
func (a *App) eventsTold() func(audit.Event) {
	if a.metrics == nil {
		return nil
	}
	return func(e audit.Event) { countEvent(a.metrics, e) }
}

// countTarget has a target counted.
func countTarget(m *telemetry.Metrics, o *target.Options) {
	kinds := make([]string, 0, 8)
	for _, kind := range target.TroubleKinds() {
		kinds = append(kinds, string(kind))
	}
	name := o.Name
	m.Target(name, kinds...)
	o.Opened = func() { m.Opened(name) }
	o.Troubled = func(kind target.TroubleKind) { m.Trouble(name, string(kind)) }
}

// sources say where to look for what changes all the time.
func (a *App) sources() telemetry.Sources {
	return telemetry.Sources{
		Calls: a.gateway.Calls, Parked: a.sessions.Parked, Sessions: a.sessions.Len, Streams: a.gateway.Streams,
		TokensCached:   func() int { return a.authn.Cached().Tokens },
		CacheHits:      func() uint64 { return a.authn.Cached().Hits },
		CacheMisses:    func() uint64 { return a.authn.Cached().Misses },
		RevocationsAge: func() time.Duration { return a.Now().Sub(a.state.Store.RevocationsLoaded()) },
		AuditWaiting:   a.audit.Waiting, AuditRefused: a.audit.Refused, AuditDropped: a.audit.Dropped, AuditFault: a.audit.Fault,
		Targets: func() []telemetry.TargetState {
			var out []telemetry.TargetState
			for _, t := range a.targets.all() {
				out = append(out, telemetry.TargetState{Name: t.Name(), Up: t.Health().State == target.OK, Shut: t.Shut(), Processes: t.Processes()})
			}
			return out
		},
	}
}

// Bounds of the listener for metrics.
const (
	scrapeTime   = 30 * time.Second
	scrapeHeader = 16 << 10
)

// metricsServer serves /metrics on an address of its own.
type metricsServer struct {
	listener net.Listener
	server   *http.Server
}

// listenMetrics takes the address.
func (a *App) listenMetrics(ctx context.Context, c *config.Metrics) (*metricsServer, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for those who scrape metrics: %w; change metrics.listen, or see who has the port", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrapers(c)(a.metrics.Handler()))
	return &metricsServer{l, &http.Server{
		Handler: mux, ReadTimeout: scrapeTime, WriteTimeout: scrapeTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: scrapeHeader,
		ErrorLog: slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
	}}, nil
}

// scrapers lets in whoever has the token. On a loopback address the Host header must name this machine, so that no page
// gets in whose name was pointed here.
func scrapers(c *config.Metrics) web.Middleware {
	host, _, _ := net.SplitHostPort(c.Listen) // checked with the configuration
	want := sha256.Sum256([]byte(c.Token.Reveal()))
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				asked = strings.Trim(r.Host, "[]")
			}
			if loopback.Is(host) && !loopback.Is(asked) {
				http.Error(w, "this host name is not served here", http.StatusMisdirectedRequest)
				return
			}
			scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			given := sha256.Sum256([]byte(token))
			if !c.Token.IsZero() && (!strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(given[:], want[:]) != 1) {
				w.Header().Set("WWW-Authenticate", "Bearer")
				http.Error(w, "the token of metrics.token is needed", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// close gives the address back when Run was never called. After Run it does nothing.
func (s *metricsServer) close() error {
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run serves until ctx ends.
func (s *metricsServer) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	err := s.server.Close()
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
