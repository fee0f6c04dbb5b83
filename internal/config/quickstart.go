package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"gatehouse/internal/identity"
	"gatehouse/internal/loopback"
)

// QuickstartOptions are what the command line may change without a configuration file.
type QuickstartOptions struct {
	StateDir       string         // required
	Listen         string         // empty for the default
	PublicURL      string         // empty for http://localhost and the port of Listen
	TrustedProxies []netip.Prefix // refused: see Quickstart
}

const quickstartHint = "the quickstart serves this machine only; to be reachable from elsewhere, write a configuration file and run: gatehouse serve -c FILE"

// Quickstart is the configuration without a file: loopback only, built-in users, the demo target at /mcp. It refuses
// everything that would make it reachable from outside, because its key and first password are made on the spot.
func Quickstart(o QuickstartOptions) (*Config, error) {
	c := &Config{Quickstart: true}
	setDefaults(c)
	c.Log.Format = "text"
	if o.StateDir == "" {
		return nil, errors.New("quickstart: no state directory is set; name one with --state-dir")
	}
	dir, err := filepath.Abs(o.StateDir)
	if err != nil {
		return nil, fmt.Errorf("quickstart: find the state directory: %w", err)
	}
	c.StateDir = dir
	if len(o.TrustedProxies) > 0 {
		return nil, fmt.Errorf("quickstart: a proxy is declared, which would let others in: %s", quickstartHint)
	}
	if o.Listen != "" {
		c.Listen = o.Listen
	}
	host, port, err := splitListen(c.Listen)
	switch {
	case err != nil:
		return nil, fmt.Errorf("quickstart: listen: %w", err)
	case !loopback.Is(host):
		return nil, fmt.Errorf("quickstart: %s is not a loopback address: %s", c.Listen, quickstartHint)
	case port == 0 && o.PublicURL == "":
		return nil, errors.New("quickstart: port 0 leaves the public URL open; choose a port")
	}
	if o.PublicURL == "" {
		c.PublicURL = loopbackOrigin(false, port)
	} else if c.PublicURL, err = parseOrigin(o.PublicURL); err != nil {
		return nil, fmt.Errorf("quickstart: the public URL %w", err)
	}
	if u := c.PublicURL.URL(); !loopback.Is(u.Hostname()) || u.Scheme != "http" {
		return nil, fmt.Errorf("quickstart: %s is not an http address of this machine: %s", c.PublicURL, quickstartHint)
	}
	demo := Target{Name: "demo", Demo: true}
	setDefaults(&demo)
	endpoint := Endpoint{Path: "/mcp", Issuers: []string{Gatehouse}, Access: Access{AnySignedIn: true}, Targets: []string{"demo"}}
	setDefaults(&endpoint)
	c.Targets, c.Endpoints = []Target{demo}, []Endpoint{endpoint}
	if c.Administrators, err = identity.NewRule(identity.ClaimRule{
		Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"administrators"}, // the first user is in it
	}); err != nil {
		return nil, fmt.Errorf("quickstart: %w", err)
	}
	derive(c)
	return c, nil
}

func loopbackOrigin(https bool, port uint16) Origin {
	scheme, own := "http", uint16(80)
	if https {
		scheme, own = "https", 443
	}
	if port == own {
		return Origin(scheme + "://localhost")
	}
	return Origin(fmt.Sprintf("%s://localhost:%d", scheme, port))
}
