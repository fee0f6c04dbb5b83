package app

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/target"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/upauth"
)

// running is one target that runs, with what it was made from.
type running struct {
	*target.Target
	part
	made   config.Target
	hidden []string // what its commands cannot reach
}

// targetSet makes targets from the configuration. A target whose settings are unchanged survives a reload, with its
// connections and processes.
type targetSet struct {
	metrics *telemetry.Metrics
	client  *http.Client
	near    *http.Client // for authorization servers that the administrator named
	far     *http.Client // for what targets name
	log     *slog.Logger
	now     func() time.Time
	version string
	scratch *sandbox.Scratch // where commands have their directories
	places  *target.Places

	mu      sync.Mutex // guards current, which only a reload changes
	current map[string]*running

	closing  chan struct{}  // closed by stopAll
	retiring sync.WaitGroup // of targets that wait for their last calls
}

// plan returns the targets that the configuration asks for: those that can be kept as they are, and new ones that do
// not run yet. Nothing has changed when it returns an error.
func (s *targetSet) plan(c *config.Config) (map[string]*running, error) {
	next := make(map[string]*running, len(c.Targets))
	own := ownFiles(c)
	for _, ct := range c.Targets {
		var hidden []string
		if ct.Command != nil {
			hidden = own
		}
		if old := s.current[ct.Name]; old != nil && reflect.DeepEqual(old.made, ct) && slices.Equal(old.hidden, hidden) {
			next[ct.Name] = old
			continue
		}
		o, err := s.options(ct, hidden, int(c.Limits.Answer))
		if err != nil {
			return nil, err
		}
		t, err := target.New(o)
		if err != nil {
			return nil, err
		}
		next[ct.Name] = &running{Target: t, made: ct, hidden: hidden}
	}
	return next, nil
}

func (s *targetSet) options(c config.Target, hidden []string, maxMessage int) (target.Options, error) {
	o := target.Options{
		Name: c.Name, Demo: c.Demo, Client: s.client, Log: s.log, Now: s.now, Version: s.version,
		Timeout: c.Timeout, MaxMessage: maxMessage, MaxCalls: c.Calls,
	}
	countTarget(s.metrics, &o)
	switch {
	case c.URL != "":
		o.HTTP = &target.HTTPOptions{URL: c.URL, Headers: c.Headers}
		if c.OAuth != nil {
			source, err := upauth.New(s.tokens(c))
			if err != nil {
				return o, err
			}
			o.Client = &http.Client{Transport: source.Transport(s.client.Transport)}
		}
	case len(c.Command) > 0:
		o.Command = &target.CommandOptions{
			Args: c.Command, Env: c.Env, Dir: c.Dir, Home: c.Home, RunAs: c.RunAs, Shared: c.Shared, IdleTimeout: c.Idle,
			Sandbox: sandbox.Mode(c.Sandbox), Hidden: hidden, Scratch: s.scratch, Places: s.places,
			Limits: sandbox.Limits{OpenFiles: uint64(c.Limits.OpenFiles), Memory: uint64(c.Limits.Memory), Processes: uint64(c.Limits.Processes)},
		}
		if c.Files != nil {
			o.Command.Read, o.Command.Write = append([]string{}, c.Files.Read...), c.Files.Write // not nil: only these
		}
	}
	return o, nil
}

// tokens says how Gatehouse gets access tokens for a target.
func (s *targetSet) tokens(c config.Target) upauth.Options {
	return upauth.Options{
		Target: c.Name, URL: c.URL, Issuer: c.OAuth.Issuer, Grant: upauth.ClientCredentials(), Scopes: c.OAuth.Scopes,
		Client:     upauth.Client{ID: c.OAuth.ClientID, Secret: c.OAuth.ClientSecret, Key: c.OAuth.PrivateKey.Client(), AuthMethod: c.OAuth.AuthMethod},
		Parameters: c.OAuth.Parameters, WithoutResource: !c.OAuth.Resource, DPoP: c.OAuth.DPoP, Near: s.near, Far: s.far, Now: s.now, Log: s.log,
	}
}

// adopt starts what is new in a plan and returns what the plan no longer has, which still runs.
func (s *targetSet) adopt(ctx context.Context, next map[string]*running) (retired []*running) {
	retired = adopt(ctx, s.log, "target", s.current, next)
	s.mu.Lock()
	s.current = next
	s.mu.Unlock()
	return retired
}

// all returns the targets in force, in no order.
func (s *targetSet) all() []*target.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*target.Target, 0, len(s.current))
	for _, r := range s.current {
		out = append(out, r.Target)
	}
	return out
}

// retire stops targets that a reload replaced, once the calls that began on them have ended.
func (s *targetSet) retire(old []*running, unused <-chan struct{}) {
	for _, r := range old {
		s.retiring.Go(func() {
			select {
			case <-unused:
			case <-s.closing:
			}
			_ = r.stop() // has logged what went wrong
		})
	}
}

// stopAll stops every target that runs, side by side, since each may wait for its processes.
func (s *targetSet) stopAll(ctx context.Context) error {
	s.retire(s.adopt(ctx, nil), nil)
	close(s.closing)
	s.retiring.Wait()
	return s.scratch.Remove()
}
