package oauthclient

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// tokens is a successful token response (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
type tokens struct {
	AccessToken  string         `json:"access_token"`
	TokenType    string         `json:"token_type"`
	RefreshToken string         `json:"refresh_token"`
	IDToken      string         `json:"id_token"`
	ExpiresIn    jsontext.Value `json:"expires_in"` // a number, and at some IdPs a string
}

// expiry is when the access token ends, if the IdP says.
func (t tokens) expiry(now time.Time) time.Time {
	const most = 10 * 365 * 24 * 3600
	seconds, err := strconv.ParseFloat(strings.Trim(string(t.ExpiresIn), `"`), 64)
	if err != nil || seconds <= 0 || seconds > most {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// redeem asks the token endpoint, and remembers whether that is possible.
func (p *Provider) redeem(ctx context.Context, m Metadata, form url.Values) (tokens, error) {
	t, err := p.askTokens(ctx, m, form)
	if ctx.Err() == nil { // else it is the caller who went away
		p.note(err)
	}
	return t, err
}

func (p *Provider) askTokens(ctx context.Context, m Metadata, form url.Values) (tokens, error) {
	header := http.Header{}
	if err := p.authenticate(m, form, header); err != nil {
		return tokens{}, err
	}
	a, err := p.post(ctx, m.TokenEndpoint, form, header)
	if err != nil {
		return tokens{}, p.fail(Temporary, ReasonUnreachable, "ask the token endpoint", err)
	}
	if a.status != http.StatusOK {
		return tokens{}, p.tokenError(a)
	}
	var t tokens
	if err := json.Unmarshal(a.body, &t); err != nil {
		return tokens{}, p.fail(Temporary, ReasonUnreachable, "read the token endpoint's answer", err)
	}
	if t.AccessToken != "" && !strings.EqualFold(t.TokenType, "Bearer") {
		return t, p.fail(Misconfigured, ReasonRequestRefused, fmt.Sprintf("the access token is of type %.32q, want Bearer", t.TokenType), nil)
	}
	return t, nil
}

// tokenError sorts the errors of RFC 6749 §5.2. Only an error code that the IdP really sent says anything final: what a
// proxy in between answers does not.
func (p *Provider) tokenError(a answer) error {
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	status := fmt.Sprintf("the token endpoint answered with status %d", a.status)
	if err := json.Unmarshal(a.body, &said); err != nil || said.Code == "" {
		return p.fail(Temporary, ReasonUnreachable, status+" and no error code", nil)
	}
	temporary := a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout
	switch said.Code {
	case "server_error", "temporarily_unavailable", "slow_down":
		temporary = true
	}
	switch {
	case temporary || a.status < 400:
		return p.said(Temporary, ReasonUnreachable, status, said.Code, said.Description)
	case p.preset.ended(said.Code):
		return p.said(Rejected, ReasonGrantRefused, status, said.Code, said.Description)
	case said.Code == "invalid_client", said.Code == "unauthorized_client":
		return p.said(Misconfigured, ReasonClientRefused, status, said.Code, said.Description)
	}
	return p.said(Misconfigured, ReasonRequestRefused, status, said.Code, said.Description)
}
