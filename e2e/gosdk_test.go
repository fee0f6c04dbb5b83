//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"gatehouse/internal/testkit"
)

// The official Go SDK, with its own OAuth handler, against the quickstart: what a newcomer writes first.
func TestGoSDKClientSignsInAndCallsATool(t *testing.T) {
	h, user, pass := quickstart(t)
	session := sdkSession(t, h.url+"/mcp", user, pass)
	ctx := t.Context()
	tools, err := session.ListTools(ctx, nil)
	if err != nil || len(tools.Tools) == 0 {
		t.Fatalf("list tools: %v, %v", tools, err)
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "demo___whoami"})
	if err != nil {
		t.Fatalf("call demo___whoami: %v", err)
	}
	if text := result.Content[0].(*mcp.TextContent).Text; result.IsError || !strings.Contains(text, user) {
		t.Errorf("whoami does not know %q: %s", user, text)
	}
}

// sdkSession connects an unmodified SDK client; the person signs in and consents when the SDK asks for it.
func sdkSession(t *testing.T, endpoint, user, pass string) *mcp.ClientSession {
	t.Helper()
	redirect, answers := callbackServer(t)
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "SDK test client", RedirectURIs: []string{redirect},
			GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
		}},
		RedirectURL:         redirect,
		RequestRefreshToken: true,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			testkit.NewBrowser(t).SignIn(args.URL, user, pass)
			select {
			case a := <-answers:
				return &a, nil
			case <-time.After(time.Minute):
				return nil, fmt.Errorf("the browser never came to %s", redirect)
			}
		},
	})
	if err != nil {
		t.Fatalf("make the SDK's OAuth handler: %v", err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler}, nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// callbackServer plays the loopback listener of a native client (RFC 8252 §7.3).
func callbackServer(t *testing.T) (redirect string, answers <-chan auth.AuthorizationResult) {
	t.Helper()
	got := make(chan auth.AuthorizationResult, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		got <- auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}
		fmt.Fprintln(w, "You may close this window.")
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String() + "/callback", got
}
