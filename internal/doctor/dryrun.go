package doctor

import (
	"context"
	"encoding/base64"
	"html"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// anyChallenge is that of RFC 7636 appendix B: the sign-in never comes to its end.
const anyChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

// trial is an authorization request that nobody completes. It asks with prompt=none: a provider that knows the client
// and the redirect URI sends the browser back with login_required, any other shows an error.
type trial struct {
	at          *url.URL
	redirectURI string
	client      string
	where       string // in which application, for the fix
	hint        func(text string) string
}

// outcome is what became of a trial.
type outcome struct {
	kind    outcomeKind
	code    string // error code that came back
	text    string // what the provider showed or said
	err     error
	fetched answer
}

type outcomeKind int

const (
	unreached     outcomeKind = iota
	cameBack                  // with a code or with an error that only somebody who signs in could help: all is registered
	cameBackWrong             // with another error
	refusedClient             // an error page about the client
	refusedURI                // an error page about the redirect URI
	refusedOther              // another error page
	showsSignIn               // a sign-in page
	showsAnyway               // a sign-in page, for redirect URIs that nobody registered too
)

// Parts of what vendors show, from their documentation and public source; no tenants were asked.
var (
	uriSigns = []string{
		"redirect_uri_mismatch", "redirect_mismatch", "AADSTS50011", "AADSTS500113", "'redirect_uri' parameter must be", "Callback URL mismatch", "Invalid parameter: redirect_uri",
		"Unregistered redirect_uri", "Redirect URI Error", "redirect_uri is missing in the client configuration", "Redirect URI mismatch", "redirect_uri did not match", "invalid_redirect_uri",
		"redirect_uri is not registered", "not registered for this client",
	}
	clientSigns = []string{
		"deleted_client", "OAuth client was not found", "Client does not exist", "AADSTS700016", "AADSTS700038", "AADSTS90002", "'client_id' parameter", "Unknown client", "Client not found",
		"Invalid client_id", "Client ID Error", "Errors.App.NotFound", "client is invalid", "invalid_client", "no such client", "client_not_found",
	}
)

const maxHops = 8

// try sends the request as a browser would, with cookies and redirects, until the provider shows a page or sends the
// browser back. Where a sign-in page comes, it tries again with a redirect URI that nobody can have registered: only
// when that one is refused does the page say anything.
func (p *probe) try(ctx context.Context, t trial) outcome {
	o := p.walk(ctx, t)
	if o.kind != showsSignIn {
		return o
	}
	control := t
	at := *t.at
	q := at.Query()
	control.redirectURI = strings.TrimSuffix(t.redirectURI, "/") + "/gatehouse-doctor-control"
	q.Set("redirect_uri", control.redirectURI)
	at.RawQuery = q.Encode()
	control.at = &at
	switch p.walk(ctx, control).kind {
	case showsSignIn, cameBack, cameBackWrong, unreached:
		o.kind = showsAnyway
	}
	return o
}

func (p *probe) walk(ctx context.Context, t trial) outcome {
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		return outcome{err: err}
	}
	client := *p.client
	client.Jar = jar
	browser := &probe{client: &client, now: p.now, timeout: p.timeout}
	at := t.at
	seen := ""
	for range maxHops {
		a := browser.do(ctx, ask{url: at.String(), header: map[string]string{"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "en"}})
		if a.err != nil {
			return outcome{kind: unreached, err: a.err, fetched: a}
		}
		to := a.header.Get("Location")
		if a.status/100 != 3 || to == "" {
			return page(a, seen+" "+words(at))
		}
		next, err := at.Parse(to)
		if err != nil {
			return outcome{kind: refusedOther, text: "a redirect to nowhere: " + clip(to, 120), fetched: a}
		}
		if back := *next; strings.HasPrefix(to, t.redirectURI) || sameTarget(&back, t.redirectURI) {
			return cameHome(next, a)
		}
		seen += " " + words(next)
		at = next
	}
	return outcome{kind: refusedOther, text: "redirects without end"}
}

func sameTarget(u *url.URL, redirectURI string) bool {
	want, err := url.Parse(redirectURI)
	return err == nil && u.Scheme == want.Scheme && u.Host == want.Host && u.Path == want.Path
}

// cameHome reads what came back to the redirect URI (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
func cameHome(back *url.URL, a answer) outcome {
	q := back.Query()
	o := outcome{kind: cameBackWrong, code: q.Get("error"), text: q.Get("error") + " " + q.Get("error_description"), fetched: a}
	if o.code == "" || slices.Contains([]string{"login_required", "interaction_required", "consent_required", "account_selection_required"}, o.code) {
		o.kind = cameBack
	}
	return o
}

// words is what a URL of the provider says, also where it is packed, as in Google's authError.
func words(u *url.URL) string {
	out := u.Path
	for name, values := range u.Query() {
		if name == "redirect_uri" || name == "client_id" || name == "continue" {
			continue
		}
		for _, v := range values {
			out += " " + v
			if raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(v, "=")); err == nil && len(v) > 16 {
				out += " " + clip(string(raw), 400)
			}
		}
	}
	return out
}

// page tells error pages from sign-in pages.
func page(a answer, addresses string) outcome {
	o := outcome{kind: showsSignIn, text: addresses + " " + html.UnescapeString(string(a.body)), fetched: a}
	has := func(signs []string) bool {
		return slices.ContainsFunc(signs, func(s string) bool { return strings.Contains(o.text, s) })
	}
	switch {
	case has(uriSigns):
		o.kind = refusedURI
	case has(clientSigns):
		o.kind = refusedClient
	case a.status >= 400 || strings.Contains(addresses, "/error"):
		o.kind = refusedOther
	}
	return o
}

// verdict turns an outcome into a finding.
func (r *report) verdict(check string, o outcome, t trial) {
	expected := "a sign-in that begins"
	hint := t.hint(o.text)
	switch o.kind {
	case unreached:
		_, tr := way(o.err, t.at, "authorization_endpoint")
		r.fail(check, tr)
	case cameBack:
		r.ok(check, "client and redirect URI are registered")
	case showsSignIn:
		r.ok(check, "client and redirect URI are registered; another URI is refused")
	case showsAnyway:
		r.skip(check, "the provider shows its sign-in page whatever the redirect URI is: whether "+t.redirectURI+" is registered shows only when somebody signs in")
	case refusedURI:
		fix := "register " + t.redirectURI + " " + t.where + ", byte for byte"
		r.fail(check, trouble{RedirectURIUnregistered, "the provider does not know the redirect URI: " + shown(o), "the redirect URI " + t.redirectURI, fix})
	case refusedClient:
		r.fail(check, trouble{ProviderClientUnknown, "the provider does not know the client " + clip(t.client, 80) + ": " + shown(o), expected, "compare client id and tenant with the provider's console" + orElse("", "; ", hint)})
	case cameBackWrong:
		r.fail(check, trouble{SignInRefused, "the provider answers " + clip(o.text, 200), expected, orElse("see what it says, and correct the application at the provider", "", hint)})
	case refusedOther:
		r.fail(check, trouble{SignInRefused, "the provider shows an error: " + shown(o), expected, orElse("open this in a browser: "+clip(t.at.String(), 400), "", hint)})
	}
}

// shown is what can be said of an error page in one line.
func shown(o outcome) string {
	for _, sign := range slices.Concat(uriSigns, clientSigns) {
		if strings.Contains(o.text, sign) {
			return sign
		}
	}
	return o.fetched.looks()
}
