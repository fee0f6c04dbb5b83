//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
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

// houseClients are the lines of Gatehouse's configuration for clients of ours.
func houseClients(at place, names ...string) string {
	var lines strings.Builder
	lines.WriteString("clients:\n")
	for _, name := range names {
		fmt.Fprintf(&lines, "  - {client_id: %s, redirect_uris: [\"http://localhost:%d/oauth/callback\"], scopes: [\"mcp:tools\", offline_access]}\n", name, at.callback)
	}
	return lines.String()
}

// houseClient is one of those.
func houseClient(at place, name string) *codeClient {
	return &codeClient{
		callback: "127.0.0.1:" + at.callbackPort(), resource: at.house + "/mcp",
		config: oauth2.Config{
			ClientID: name, RedirectURL: fmt.Sprintf("http://localhost:%d/oauth/callback", at.callback), Scopes: []string{"mcp:tools", "offline_access"},
			Endpoint: oauth2.Endpoint{AuthURL: at.house + "/authorize", TokenURL: at.house + "/token", AuthStyle: oauth2.AuthStyleInParams},
		},
	}
}

// refresh redeems the refresh token. The error is the server's own, when it gave one.
func (c *codeClient) refresh(t *testing.T, token *oauth2.Token) (*oauth2.Token, *oauth2.RetrieveError) {
	t.Helper()
	next, err := c.config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return nil, refused
	}
	if err != nil {
		t.Errorf("refresh: %v", err)
		return nil, &oauth2.RetrieveError{}
	}
	return next, nil
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
