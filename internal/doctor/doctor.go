// Package doctor looks at an installation from outside, as an MCP client comes to it, and at what it rests on: other
// issuers, targets, the state directory. It says what it found, what it expected, and which setting or command is the
// cure. It changes nothing, keeps nothing and signs nobody in. What is wrong in the configuration file itself is for
// config to say, and why a single token is refused for authn.
//
// What clients insist on stands in RFC 9728 (protected-resource metadata), RFC 8414 (authorization-server metadata) and
// MCP 2025-11-25 basic/authorization; what breaks them in practice is the experience of people who ran them.
package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/seal"
	"gatehouse/internal/secret"
	"gatehouse/internal/target"
)

// Setup is the installation to look at, as its configuration describes it.
type Setup struct {
	PublicURL   string // origin; also the issuer of the built-in authorization server
	Listen      string // host:port of the running Gatehouse
	CertFile    string // of the certificate that Gatehouse itself serves; empty when it serves plain http
	BehindProxy bool   // another program terminates TLS
	CertHeader  string // in which that program says with which certificate a client came; may be empty
	Config      string // fingerprint of the configuration file; empty when there is none
	Copies      string // host:port at which other copies look for this one; empty when it is alone

	Registration bool // clients may register themselves
	BodyLimit    int64
	Endpoints    []Endpoint
	Clients      []Client
	Providers    []Provider
	Targets      []target.Options
	State        State
	RedirectURI  string // of an MCP client, to begin a sign-in with at providers that clients are sent to; may be empty

	BeforeStart bool           // Gatehouse does not run yet: look at what can be known without it
	Client      *http.Client   // how Gatehouse itself reaches others; redirects, cookies and timeout are not used
	RootCAs     *x509.CertPool // nil: the system's
	Now         func() time.Time
	Timeout     time.Duration // of one check; default 5 s. A target that is a command may take six times as long
	Hold        time.Duration // how long a stream must stay open to show that nobody holds it back; default 3 s
}

// Endpoint is one MCP URL.
type Endpoint struct {
	Path   string
	Own    bool   // the built-in authorization server leads its metadata
	DPoP   bool   // tokens must be bound to a key (RFC 9449)
	Open   bool   // nobody is asked for a token, for tests on one machine
	Origin string // a web origin from which browsers may call it; empty for none
}

// Client is one static client of the built-in authorization server.
type Client struct {
	ID           identity.ClientID
	RedirectURIs []string
}

// State is what lies on this machine.
type State struct {
	Dir, Audit string
	Database   secret.Text
	Keys       *seal.Keyring // nil: the master key is not known
	KeysError  error         // why it is not
}

func (s *Setup) validate() error {
	switch {
	case s.PublicURL == "" || len(s.Endpoints) == 0:
		return errors.New("doctor: the installation has no address or no endpoint")
	case s.Client == nil:
		return errors.New("doctor: no HTTP client given")
	}
	if _, err := url.Parse(s.PublicURL); err != nil {
		return err
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	s.Timeout = cmp.Or(s.Timeout, 5*time.Second)
	s.Hold = cmp.Or(s.Hold, 3*time.Second)
	return nil
}

// Progress is told what is being looked at, each time that changes, and how much is done. Calls do not overlap.
type Progress func(running []string, done, all int)

// Run looks at everything, side by side where one thing does not rest on another, and returns the findings in a fixed
// order.
func Run(ctx context.Context, s Setup, progress Progress) ([]Finding, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	p := newProbe(&s)
	jobs := []job{
		{"this machine", s.machine},
		{s.PublicURL, func(ctx context.Context) []Finding { return p.installation(ctx, &s) }},
	}
	for _, o := range s.Providers {
		jobs = append(jobs, job{"provider " + o.Name, func(ctx context.Context) []Finding { return p.provider(ctx, &s, o) }})
	}
	for _, t := range s.Targets {
		jobs = append(jobs, job{"target " + t.Name, func(ctx context.Context) []Finding { return lookAtTarget(ctx, t, s.Timeout) }})
	}
	return sideBySide(ctx, jobs, progress), ctx.Err()
}

// job is one thing to look at.
type job struct {
	name string
	do   func(context.Context) []Finding
}

// sideBySide does all jobs at once and returns their findings in the order of the jobs.
func sideBySide(ctx context.Context, jobs []job, progress Progress) []Finding {
	var mu sync.Mutex // guards running and done, and the calls of progress
	var running []string
	done := 0
	tell := func(change func()) {
		mu.Lock()
		defer mu.Unlock()
		change()
		if progress != nil {
			progress(slices.Clone(running), done, len(jobs))
		}
	}
	var wg sync.WaitGroup
	found := make([][]Finding, len(jobs))
	for i, j := range jobs {
		wg.Go(func() {
			tell(func() { running = append(running, j.name) })
			found[i] = j.do(ctx)
			tell(func() {
				done++
				running = slices.DeleteFunc(running, func(name string) bool { return name == j.name })
			})
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}
