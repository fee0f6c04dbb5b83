// Package app builds Gatehouse: it turns a configuration into the parts below, in one straight line, starts them,
// swaps what a reload changes, and stops them in reverse order. It holds the only list of routes (routes.go). It
// decides nothing about a request.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/authn"
	"gatehouse/internal/authserver"
	"gatehouse/internal/clientdoc"
	"gatehouse/internal/cluster"
	"gatehouse/internal/config"
	"gatehouse/internal/dpop"
	"gatehouse/internal/gateway"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/secret"
	"gatehouse/internal/session"
	"gatehouse/internal/signin"
	"gatehouse/internal/target"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/web"
)

// Options are what an App is made from.
type Options struct {
	Config  *config.Config
	File    string // the configuration file, to be read again; empty for the quickstart
	Log     *slog.Logger
	Level   *slog.LevelVar // of Log, so that a reload can change it
	Version string
	Now     func() time.Time // default time.Now

	// ClientDocuments fetches client ID metadata documents and the keys that they name. The default keeps to public
	// addresses; another one is for tests, whose sites are not on the internet.
	ClientDocuments *http.Client
}

// App is one running Gatehouse.
type App struct {
	Options
	life      *lifecycle
	server    *web.Server
	seen      []byte // fingerprint of the configuration file as it was last read
	routes    atomic.Pointer[http.Handler]
	config    atomic.Pointer[config.Config]     // in force
	endpoints atomic.Pointer[[]*authn.Endpoint] // in force, for the page that explains tokens
	mark      atomic.Pointer[string]            // of the file that config was read from

	state     *State
	audit     *audit.Log
	keys      *jose.SigningKeys
	signin    *signin.Service
	providers *providerSet
	authsrv   *authserver.Server
	authn     *authn.Authenticator
	sessions  *session.Table
	gateway   *gateway.Gateway
	copies    *cluster.Copies // nil when this one is alone
	targets   *targetSet
	metrics   *telemetry.Metrics // nil when nobody wants them
	vectors   vectors            // of the configuration in force; changed by apply only
	issuers   *keySets
	health    *web.Health
}

// New builds everything and takes the address, but serves nothing yet. When it returns an error, whatever had been
// started is stopped again.
func New(ctx context.Context, o Options) (*App, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ClientDocuments == nil {
		o.ClientDocuments = web.NewClient(web.FencePublic, web.ClientOptions{})
	}
	a := &App{Options: o, life: newLifecycle(o.Log), seen: fingerprint(o.File)}
	if err := a.build(ctx); err != nil {
		return nil, a.Abandon(err)
	}
	return a, nil
}

// Abandon stops what New started, for a caller that cannot go on, and returns err with whatever else went wrong.
func (a *App) Abandon(err error) error { return errors.Join(err, a.life.stop()) }

// build may run long because it runs straight: each part in the order in which the next one needs it.
func (a *App) build(ctx context.Context) error {
	c := a.Config
	var err error
	if a.server, err = a.listen(ctx, c); err != nil {
		return err
	}
	var scraped *metricsServer
	if c.Metrics != nil {
		a.metrics = telemetry.NewMetrics(a.Version)
		if scraped, err = a.listenMetrics(ctx, c.Metrics); err != nil {
			return err
		}
		a.life.closes("address of metrics", func(context.Context) error { return scraped.close() })
	}
	if a.state, err = openState(ctx, c, a.Log, a.Now); err != nil {
		return err
	}
	a.life.closes("database", func(context.Context) error { return a.state.Store.Close() })
	a.life.runs(ctx, "revocations", a.state.Store.WatchRevocations)
	a.life.runs(ctx, "housekeeping", a.purge)

	if a.audit, err = audit.Open(audit.Options{Dir: filepath.Join(c.StateDir, "audit"), Mode: audit.Mode(c.Audit.Mode), Now: a.Now, Log: a.Log, Told: a.eventsTold()}); err != nil {
		return err
	}
	a.life.runs(ctx, "audit records", a.audit.Run)

	if a.keys, err = a.state.SigningKeys(ctx, c, a.Log, a.Now); err != nil {
		return err
	}
	a.life.runs(ctx, "signing keys", a.keys.Run)

	a.providers = &providerSet{metrics: a.metrics, client: web.NewClient(web.FenceAdmin, web.ClientOptions{}), log: a.Log, now: a.Now}
	a.life.closes("identity providers", func(ctx context.Context) error { return stopAll(a.providers.adopt(ctx, nil)) })
	if a.signin, err = signin.New(signin.Options{
		PublicURL: c.PublicURL.URL(), Issuer: c.Issuer(), Store: a.state.Store, Keys: a.state.Keys,
		ClientIP: web.ClientIP, Log: a.Log, Audit: a.audit, Idle: c.SignIn.Session.Idle, Absolute: c.SignIn.Session.Absolute,
		NoPasskeys: !c.SignIn.Passkeys, Now: a.Now,
	}); err != nil {
		return err
	}
	a.life.closes("questions to identity providers", a.signin.Close)
	documents, err := clientdoc.NewCache(clientdoc.Options{Client: a.ClientDocuments, Now: a.Now, Log: a.Log})
	if err != nil {
		return err
	}
	if a.authsrv, err = authserver.New(authserver.Options{
		Issuer: c.Issuer(), Store: a.state.Store, Signing: a.keys, SignIn: a.signin, Assertions: a.signin, Keys: a.state.Keys,
		Documents: documents, Limits: authserver.Limits{RegistrationsPerAddress: c.Registration.RatePerMinute},
		Audit: a.audit, Log: a.Log, Now: a.Now,
	}); err != nil {
		return err
	}
	if a.authn, err = authn.New(authn.Options{
		Nonces: dpop.NewNonces(a.state.Keys, "endpoints", a.Now), Revocations: revocations{a}, Now: a.Now, Log: a.Log,
	}); err != nil {
		return err
	}
	owner := ""
	if c.Copies != nil {
		if err := a.joinCopies(ctx, c); err != nil {
			return err
		}
		owner = a.copies.Self()
	}
	if a.sessions, err = session.New(session.Options{
		Owner: owner, Box: a.state.Keys.Box(session.Purpose), Max: c.Limits.Sessions, Idle: c.Limits.SessionIdle,
		Absolute: c.Limits.SessionLifetime, Log: a.Log,
	}); err != nil {
		return err
	}
	a.targets = &targetSet{
		metrics: a.metrics, log: a.Log, now: a.Now, version: a.Version, closing: make(chan struct{}),
		client: web.NewTargetClient(web.ClientOptions{Dialed: a.metrics.Connected}),
		near:   web.NewClient(web.FenceAdmin, web.ClientOptions{}), far: web.NewClient(web.FencePublic, web.ClientOptions{}),
		scratch: sandbox.NewScratch(""), places: target.NewPlaces(c.Limits.Processes, c.Limits.ProcessesPerPerson),
	}
	a.life.closes("targets", a.targets.stopAll)
	a.issuers = &keySets{metrics: a.metrics, client: web.NewClient(web.FenceAdmin, web.ClientOptions{}), log: a.Log, now: a.Now}
	a.life.closes("keys of issuers", func(ctx context.Context) error { return stopAll(a.issuers.adopt(ctx, nil)) })
	a.life.runs(ctx, "sessions", a.sessions.Run)
	if a.gateway, err = gateway.New(gateway.Options{
		Sessions: a.sessions, Copies: a.copies, State: a.state.Keys.Box(gateway.StatePurpose), Tasks: a.state.Keys.MAC(gateway.TaskPurpose), Audit: a.audit, Log: a.Log, Version: a.Version,
	}); err != nil {
		return err
	}
	a.life.runs(ctx, "gateway", a.gateway.Run)
	a.life.runs(ctx, "search of tools", a.gateway.Index)
	if a.copies != nil {
		a.life.runs(ctx, "other copies", a.copies.Run)
	}
	a.health = web.NewHealth(a.databaseHealth(), a.auditHealth(), a.targetsHealth(), a.providersHealth())
	mark := configMark(a.state.Keys, a.File)
	if err := a.apply(ctx, c); err != nil {
		return err
	}
	a.mark.Store(&mark)
	if scraped != nil {
		a.metrics.Configured(true, nil, a.Now())
		a.metrics.Watch(a.sources())
		a.life.runs(ctx, "metrics", scraped.Run)
	}
	return nil
}

// joinCopies takes the internal address, at which other copies hand requests on to this one.
func (a *App) joinCopies(ctx context.Context, c *config.Config) error {
	copies, err := cluster.New(cluster.Options{
		Keys: a.state.Keys, Origin: string(c.PublicURL), Listen: c.Copies.Listen, Address: c.Copies.Address.Reveal(), Log: a.Log,
		Serve: func(w http.ResponseWriter, r *http.Request, who *identity.Principal, endpoint string) {
			a.gateway.HandedOn(w, r, who, endpoint)
		},
	})
	if err != nil {
		return err
	}
	if err := copies.Listen(ctx); err != nil {
		return err
	}
	a.life.closes("internal address", func(context.Context) error { return copies.Close() })
	a.copies = copies
	return nil
}

// listen takes the address first: a port that is taken shows before anything is created.
func (a *App) listen(ctx context.Context, c *config.Config) (*web.Server, error) {
	o := web.ServerOptions{Listen: c.Listen, Log: a.Log, Grace: requestGrace, Late: func() { a.sessions.EndAll() }, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*a.routes.Load()).ServeHTTP(w, r)
	})}
	if c.TLS != nil {
		o.TLS = &web.TLSFiles{Cert: c.TLS.CertFile, Key: c.TLS.KeyFile, AskClients: c.TLS.ClientCertificates, ClientCAs: c.TLS.ClientCAFile}
	}
	s, err := web.NewServer(o)
	if err != nil {
		return nil, err
	}
	if err := s.Listen(ctx); err != nil {
		return nil, err
	}
	a.life.closes("address", func(context.Context) error { return s.Close() })
	return s, nil
}

// Run serves until ctx ends or a part fails, reading the configuration again when it changes or when hup fires.
func (a *App) Run(ctx context.Context, hup <-chan os.Signal) error {
	if a.File != "" {
		a.life.runs(ctx, "configuration watch", func(ctx context.Context) error { return a.watch(ctx, hup) })
	}
	a.life.runs(ctx, "server", a.server.Run)
	a.Log.Info("serving", "listen", a.server.Addr().String(), "public_url", string(a.config.Load().PublicURL), "version", a.Version)
	started := a.audit.Record(ctx, audit.Event{Kind: audit.KindStarted})
	var failed error
	select {
	case <-ctx.Done():
		a.Log.Info("stopping")
	case failed = <-a.life.failed:
		a.Log.Error("stopping because a part failed", "error", failed)
	}
	return errors.Join(started, failed, a.audit.Record(context.Background(), audit.Event{Kind: audit.KindStopped}), a.life.stop())
}

// purge removes what has expired, a few times an hour.
func (a *App) purge(ctx context.Context) error {
	ticker := time.NewTicker(15 * time.Minute)
	defer ticker.Stop()
	for {
		if err := a.state.Store.PurgeExpired(ctx); err != nil && ctx.Err() == nil {
			a.Log.Error("expired rows not removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// First is the user that a newcomer signs in with.
type First struct {
	Created  bool
	Username string
	Password secret.Text // only when Created
	Existing []string    // usernames, when there were users already
}

// FirstUser makes a user with a random password when there is none.
func (a *App) FirstUser(ctx context.Context, username string) (First, error) {
	users := signin.NewUsers(a.state.Store, a.Now)
	u, password, created, err := users.Bootstrap(ctx, signin.UserSpec{Username: username, Groups: []string{"administrators"}})
	if err != nil {
		return First{}, fmt.Errorf("make the first user: %w", err)
	}
	if created {
		err = a.audit.Record(ctx, audit.Event{Kind: audit.KindUserAdded, Actor: "quickstart", Person: identity.PersonKey{Issuer: a.Config.Issuer(), Subject: u.ID}})
		return First{Created: true, Username: u.Username, Password: password}, err
	}
	all, err := users.List(ctx)
	if err != nil {
		return First{}, err
	}
	first := First{}
	for _, u := range all {
		first.Existing = append(first.Existing, u.Username)
	}
	return first, nil
}

// revocations answers from the store's view in memory, as long as that is fresh enough.
type revocations struct{ app *App }

// Revoked implements authn.Revocations.
func (r revocations) Revoked(key identity.PersonKey, grant identity.GrantID, client identity.ClientID, issued time.Time) bool {
	return r.app.state.Store.Revoked(key, grant, client, issued)
}

// Current implements authn.Revocations.
func (r revocations) Current(now time.Time) bool {
	return now.Sub(r.app.state.Store.RevocationsLoaded()) <= r.app.config.Load().MaxStale
}
