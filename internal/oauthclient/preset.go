package oauthclient

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/identity"
)

// Preset is what is peculiar to one vendor. It is pure data; the zero value describes an IdP that does what the
// specifications say. What was never seen at a real tenant is marked as unverified.
type Preset struct {
	Name string

	// DiscoveryExample shows what the discovery URL looks like; DiscoveryPath is the form of its path in front of
	// /.well-known/openid-configuration, as a regular expression for the whole of it; FormHint says what to correct.
	DiscoveryExample, DiscoveryPath, FormHint string

	Scopes          []string // asked for when the administrator names none; openid comes first in any case
	AuthorizeParams []Param  // sent with every authorization request
	LoginPrompt     string   // what this IdP understands instead of prompt=login
	SelectAccount   bool     // it understands prompt=select_account, although its metadata may not say so

	// RefreshScope must be asked for to get a refresh token; empty where none is needed.
	RefreshScope string

	GroupsClaim   string // path of the claim that holds groups: see Options.GroupsClaim
	GroupsHint    string // what to do at the IdP so that groups arrive
	UserInfo      bool   // the ID token alone is too thin
	EmailTrust    EmailTrust
	UserKey       UserKey
	OpenToAnybody bool // everybody can get an account there: without Options.Require the whole world may sign in

	// EndedCodes are token endpoint errors that mean the refresh token is dead, besides invalid_grant.
	EndedCodes []string
	// AssertionAudience is what a client assertion names as its audience.
	AssertionAudience AssertionAudience
	// UntypedLogout accepts logout tokens whose header says typ JWT or nothing.
	UntypedLogout bool
	// LogoutRedirectParam is the name of post_logout_redirect_uri at the end-session endpoint.
	LogoutRedirectParam string

	Mistakes []Mistake
}

// Param is one request parameter.
type Param struct{ Name, Value string }

// EmailTrust says when an e-mail address of this IdP may be taken as the person's.
type EmailTrust string

// The degrees of trust.
const (
	EmailWhenVerified EmailTrust = ""      // when the IdP says email_verified
	EmailNever        EmailTrust = "never" // anybody can write any address there
)

// UserKey says which claims name a person for good.
type UserKey string

// The keys.
const (
	KeyIssuerSubject UserKey = ""        // iss and sub (OpenID Connect Core §5.7)
	KeyTenantObject  UserKey = "tid_oid" // tid, which iss contains, and oid: Entra's sub differs from one application to the next
)

// AssertionAudience says what goes into the aud of a client assertion (RFC 7523 §3).
type AssertionAudience string

// The audiences.
const (
	AudienceTokenEndpoint AssertionAudience = ""       // OpenID Connect Core §9
	AudienceIssuer        AssertionAudience = "issuer" // RFC 7523 §3 allows it; some vendors require it
)

// Mistake recognises a common fault by a part of what the IdP said, and names the cure.
type Mistake struct{ Sign, Hint string }

// LookupPreset returns the preset of that name. The empty name is the preset without peculiarities.
func LookupPreset(name string) (Preset, bool) {
	if name == "" {
		return Preset{}, true
	}
	for _, p := range Presets() {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

// PresetNames lists the names for messages.
func PresetNames() []string {
	var names []string
	for _, p := range Presets() {
		names = append(names, p.Name)
	}
	return names
}

// CheckDiscoveryURL reports a discovery URL that cannot belong to the preset. Hosts are not looked at, since most
// vendors offer custom domains.
func (p Preset) CheckDiscoveryURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("read discovery URL: %w", err)
	}
	if p.DiscoveryPath == "" {
		return nil
	}
	path, found := strings.CutSuffix(u.Path, "/.well-known/openid-configuration")
	if form := regexp.MustCompile("^(?:" + p.DiscoveryPath + ")$"); !found || !form.MatchString(path) {
		return fmt.Errorf("discovery URL %q does not look like %s's, such as %s; %s", raw, p.Name, p.DiscoveryExample, p.FormHint)
	}
	return nil
}

// Hint finds the cure for the first mistake whose sign is in what the IdP said, or "".
func (p Preset) Hint(text string) string {
	for _, m := range slices.Concat(p.Mistakes, commonMistakes()) {
		if strings.Contains(text, m.Sign) {
			return m.Hint
		}
	}
	return ""
}

func (p Preset) ended(code string) bool {
	switch code {
	case "invalid_grant", "interaction_required", "login_required", "consent_required":
		return true
	}
	return slices.Contains(p.EndedCodes, code)
}

// asksForRefresh reports whether a refresh token can be expected with these scopes.
func (p Preset) asksForRefresh(scopes identity.Scopes) bool {
	if p.Name == "" {
		return scopes.Has(offlineAccess)
	}
	return p.RefreshScope == "" || scopes.Has(p.RefreshScope)
}

const offlineAccess = "offline_access"

func commonMistakes() []Mistake {
	return []Mistake{
		{"redirect_uri", "register Gatehouse's callback URL at the IdP, byte for byte"},
		{"invalid_client", "compare client id and client secret with the application at the IdP, and whether the secret has expired"},
		{"unauthorized_client", "allow the application at the IdP the grants authorization_code and refresh_token"},
		{"unsupported_grant_type", "allow the application at the IdP the grants authorization_code and refresh_token"},
		{"invalid_scope", "allow the application at the IdP the scopes that sign_in asks for, or set scopes to those it allows"},
		{"unsupported_response_type", "allow the application at the IdP the response type code"},
		{"invalid_target", "the IdP wants an audience or resource of its own; Gatehouse sends none, so remove that requirement for this application"},
	}
}
