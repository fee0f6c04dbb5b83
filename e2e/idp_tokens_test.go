//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"

	"golang.org/x/oauth2"
)

// codeClient is a public client that does by hand what mcp-remote does by itself, for tests that need the tokens.
type codeClient struct {
	config   oauth2.Config
	resource string // asked for with every request, unless empty
	callback string // address that its listener takes
}

// directClient is the IdP's own client.
func (p *idp) directClient(t *testing.T, at place) *codeClient {
	t.Helper()
	var metadata struct {
		Authorize string `json:"authorization_endpoint"`
		Token     string `json:"token_endpoint"`
	}
	if err := json.Unmarshal([]byte(get(t, p.discovery)), &metadata); err != nil {
		t.Fatalf("metadata of %s: %v", p.name, err)
	}
	var scopes []string
	if err := json.Unmarshal([]byte(p.scopes), &scopes); err != nil {
		t.Fatal(err)
	}
	return &codeClient{
		callback: fmt.Sprintf("127.0.0.1:%d", at.callback),
		config: oauth2.Config{
			ClientID: p.assistant, RedirectURL: fmt.Sprintf("http://localhost:%d/oauth/callback", at.callback), Scopes: scopes,
			Endpoint: oauth2.Endpoint{AuthURL: metadata.Authorize, TokenURL: metadata.Token, AuthStyle: oauth2.AuthStyleInParams},
		},
	}
}

// signIn lets a person walk through pages and returns the client's tokens.
func (c *codeClient) signIn(t *testing.T, pages []formPage) *oauth2.Token {
	t.Helper()
	listener, err := net.Listen("tcp", c.callback)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "you may close this window")
	})}
	go server.Serve(listener)
	defer server.Close()
	verifier := oauth2.GenerateVerifier()
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	w := browse(t, c.config.AuthCodeURL("state", append(options, c.target()...)...), pages)
	if w.ended.Query().Get("code") == "" || w.ended.Query().Get("state") != "state" {
		t.Fatalf("the sign-in ended at %s:\n%s", w.ended, w.last())
	}
	token, err := c.config.Exchange(t.Context(), w.ended.Query().Get("code"), append(c.target(), oauth2.VerifierOption(verifier))...)
	if err != nil {
		t.Fatalf("redeem the code: %v", err)
	}
	return token
}

func (c *codeClient) target() []oauth2.AuthCodeOption {
	if c.resource == "" {
		return nil
	}
	return []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("resource", c.resource)}
}
