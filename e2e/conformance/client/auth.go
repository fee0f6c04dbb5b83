package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/upauth"
	"gatehouse/internal/web"
)

// What the suite knows of its client by name: the document it expects, and a redirect URI that nobody listens at.
const (
	documentURL = "https://conformance-test.local/client-metadata.json"
	redirectURI = "http://127.0.0.1:9876/callback"
)

// newSource makes the source of tokens that a scenario is about. All of the suite's servers are on this machine, each at
// a port of its own: what a target names may be private here, which it may not in a gateway.
func newSource(server, scenario string, given settings, log *slog.Logger) (*upauth.Source, error) {
	local := web.NewClient(web.FenceAdmin, web.ClientOptions{})
	o := upauth.Options{
		Target: "suite", URL: server, Document: documentURL, Grant: upauth.AuthorizationCode(redirectURI, visit),
		Client: upauth.Client{ID: identity.ClientID(given.ClientID), Secret: secret.New(given.ClientSecret)},
		DPoP:   strings.HasPrefix(scenario, "auth/dpop"),
		Near:   local, Far: local, Now: time.Now, Log: log,
	}
	switch scenario {
	case "auth/client-credentials-jwt":
		key, err := signerOf(given.PrivateKey)
		if err != nil {
			return nil, err
		}
		o.Client.Key = &oauthclient.ClientKey{Private: key, Algorithm: given.Algorithm}
		o.Grant = upauth.ClientCredentials()
	case "auth/client-credentials-basic":
		o.Grant = upauth.ClientCredentials()
	case "auth/enterprise-managed-authorization":
		o.Grant = upauth.EnterpriseManaged(upauth.Exchange{
			TokenEndpoint: given.TokenEndpoint, Issuer: identity.Issuer(given.IDPIssuer), Client: upauth.Client{ID: identity.ClientID(given.IDPClientID)},
			IDToken: func(context.Context) (secret.Text, error) { return secret.New(given.IDPToken), nil },
		})
	case "auth/wif-jwt-bearer":
		o.Grant = upauth.Assertion(func(context.Context, identity.Issuer, string, identity.Scopes) (string, error) {
			return given.WorkloadJWT, nil
		})
	}
	return upauth.New(o)
}

// visit is the person's browser: the suite's authorization servers let everybody in, and redirect at once.
func visit(ctx context.Context, authorizationURL string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authorizationURL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("the authorization server answered with status %d and no redirect", resp.StatusCode)
	}
	return back, nil
}
