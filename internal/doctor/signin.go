package doctor

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

// signIn looks at Gatehouse's own application at a provider: what it asks for, its redirect URI, its secret. It uses the
// very code that signs people in.
func (p *probe) signIn(ctx context.Context, m serverMetadata, o Provider, r *report) {
	provider, err := oauthclient.New(*o.SignIn)
	if err != nil {
		r.fail("application", trouble{ProviderSettings, clip(err.Error(), 200), "settings that can be used", "correct " + o.Setting})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 4*p.timeout)
	defer cancel()
	to, _, err := provider.Begin(ctx, oauthclient.BeginOptions{Prompt: "none"})
	if err != nil {
		r.fail("application", providerTrouble(err, o))
		return
	}
	if preset := provider.Preset(); preset.RefreshScope != "" && len(m.Scopes) > 0 && !slices.Contains(m.Scopes, preset.RefreshScope) {
		r.warn("scopes", trouble{RefreshScopeAbsent, "scopes_supported has no " + preset.RefreshScope, "that scope, so that the provider can be asked again about a person", "allow it at the provider, for the application and the authorization server"})
	}
	if at, err := url.Parse(to); err == nil {
		t := trial{at: at, redirectURI: o.SignIn.RedirectURI, client: string(o.SignIn.ClientID), where: "at the provider's application", hint: provider.Preset().Hint}
		r.verdict("redirect URI", p.try(ctx, t), t)
	}
	r.credential(ctx, provider)
}

// providerTrouble shows an error of oauthclient.
func providerTrouble(err error, o Provider) trouble {
	e, ok := errors.AsType[*oauthclient.Error](err)
	if !ok {
		return trouble{ProviderSettings, clip(err.Error(), 200), "metadata that can be used", "correct " + o.Setting}
	}
	found := e.Detail
	if e.Cause != nil {
		found += ": " + e.Cause.Error()
	}
	return trouble{ProviderSettings, clip(found, 200), "metadata that can be used", orElse("correct "+o.Setting, "", e.Hint)}
}

// aboutCredentials tells Keycloak's word for a wrong secret, which is unauthorized_client, from a grant that is switched off.
func aboutCredentials(description string) bool {
	return strings.Contains(strings.ToLower(description), "credential")
}

// credential redeems a refresh token that nobody gave out: what the provider says to that tells whether it takes the
// client's secret or key.
func (r *report) credential(ctx context.Context, provider *oauthclient.Provider) {
	const check = "client secret"
	_, _, err := provider.Refresh(ctx, secret.New("gatehouse-doctor-made-this-up"), oauthclient.RefreshOptions{})
	e, ok := errors.AsType[*oauthclient.Error](err)
	expected := "invalid_grant, which says that it takes the client's credential"
	fix := func(otherwise string) string { return orElse(otherwise, "", e.Hint) }
	switch {
	case !ok:
		r.skip(check, "the provider gave tokens for a made-up refresh token")
	case e.Reason == oauthclient.ReasonGrantRefused:
		r.ok(check, "the provider takes it")
	case e.Code == "unauthorized_client" && !aboutCredentials(e.Description) || e.Code == "unsupported_grant_type":
		r.fail(check, trouble{RefreshNotAllowed, "the application may not use refresh tokens: " + e.Code + " " + clip(e.Description, 160), expected, fix("allow the application the grant refresh_token")})
	case e.Reason == oauthclient.ReasonClientRefused:
		r.fail(check, trouble{ClientSecretRefused, "the provider refuses the client's secret or key: " + e.Code + " " + clip(e.Description, 160), expected, fix("enter the application's present secret")})
	case e.Kind == oauthclient.Temporary:
		r.fail(check, trouble{TokenEndpointSilent, clip(e.Error(), 200), expected, "let this machine reach the provider's token endpoint"})
	default:
		r.warn(check, trouble{CredentialUnclear, "the provider answers a made-up refresh token with " + e.Code + " " + clip(e.Description, 160), expected, fix("see whether the application may use refresh tokens")})
	}
}
