package testkit

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// errorPage is how a vendor shows an authorization request that it sends back to nobody (RFC 6749 §4.1.2.1), from
// documentation and public source.
type errorPage struct {
	status   int
	kind     string // media type; HTML when empty
	body     string // %s stands for the redirect URI or the client id
	location string // a redirect to a page of its own instead, which has the status and the body
}

// refusals are the pages of one vendor.
type refusals struct {
	uri, client errorPage
	showsSignIn bool // prompt=none is not understood: the sign-in page comes instead
	tellsLate   bool // redirect URIs are compared after the sign-in only
}

func upstreamRefusals(vendor string) refusals {
	html := func(status int, uri, client string) refusals {
		return refusals{uri: errorPage{status: status, body: "<html><title>Error</title>" + uri}, client: errorPage{status: status, body: "<html><title>Error</title>" + client}}
	}
	google := func(text string) errorPage {
		return errorPage{status: http.StatusOK, body: "<html><title>Error 400</title>", location: "/signin/oauth/error?authError=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("\x0a\x15"+text)))}
	}
	switch vendor {
	case "okta":
		return html(http.StatusBadRequest, "The &#39;redirect_uri&#39; parameter must be a Login redirect URI in the client app settings: %s", "Invalid value for &#39;client_id&#39; parameter.")
	case "entra":
		return html(http.StatusOK, "AADSTS50011: The redirect URI &#39;%s&#39; specified in the request does not match the redirect URIs configured for the application.", "AADSTS700016: Application with identifier &#39;%s&#39; was not found in the directory.")
	case "cognito":
		return refusals{
			uri:         errorPage{status: http.StatusBadRequest, body: "<html><title>Error</title>An error was encountered with the requested page.", location: "/error?error=redirect_mismatch&client_id=x"},
			client:      errorPage{status: http.StatusBadRequest, body: "<html><title>Error</title>", location: "/error?error=Client+does+not+exist"},
			showsSignIn: true,
		}
	case "auth0":
		return html(http.StatusForbidden, "Callback URL mismatch. The provided redirect_uri is not in the list of allowed callback URLs.", "Unknown client: %s")
	case "keycloak":
		return html(http.StatusBadRequest, "We are sorry... Invalid parameter: redirect_uri", "We are sorry... Client not found.")
	case "google":
		return refusals{uri: google("redirect_uri_mismatch\x12\xb0You can't sign in to this app"), client: google("invalid_client\x12\x1fThe OAuth client was not found.")}
	case "dex":
		r := html(http.StatusBadRequest, "Bad Request: Unregistered redirect_uri (&#34;%s&#34;).", "Bad Request: Invalid client_id (&#34;%s&#34;).")
		r.showsSignIn = true
		return r
	case "authentik":
		return html(http.StatusBadRequest, "Redirect URI Error: The request fails due to a missing, invalid, or mismatching redirection URI.", "Client ID Error: The client identifier is missing or invalid.")
	case "zitadel":
		say := func(text string) errorPage {
			return errorPage{http.StatusBadRequest, "application/json", `{"error":"invalid_request","error_description":"` + text + `"}`, ""}
		}
		return refusals{uri: say("The requested redirect_uri is missing in the client configuration."), client: say("Errors.App.NotFound")}
	}
	return html(http.StatusBadRequest, "Redirect URI mismatch", "no such client: invalid_client")
}

// refuseRequest answers for what is not registered, and for a browser in which nobody is signed in; mu is held. It
// reports whether it did.
func (u *UpstreamIDP) refuseRequest(w http.ResponseWriter, r *http.Request) bool {
	q := r.Form
	pages := u.pages
	switch {
	case q.Get("client_id") != u.c.ClientID:
		u.show(w, r, pages.client, q.Get("client_id"))
	case pages.tellsLate && (q.Get("prompt") == "none" || q.Get("redirect_uri") != u.c.RedirectURI):
		fmt.Fprint(w, "<html><title>Sign in</title><form method=post>")
	case q.Get("redirect_uri") != u.c.RedirectURI:
		u.show(w, r, pages.uri, q.Get("redirect_uri"))
	case q.Get("prompt") == "none" && pages.showsSignIn:
		http.Redirect(w, r, u.IDP.Issuer()+"/login?"+q.Encode(), http.StatusFound)
	default:
		return false
	}
	return true
}

func (u *UpstreamIDP) show(w http.ResponseWriter, r *http.Request, p errorPage, what string) {
	if p.location != "" {
		u.shown = p
		http.Redirect(w, r, u.IDP.Issuer()+p.location, http.StatusFound)
		return
	}
	u.write(w, p, what)
}

func (u *UpstreamIDP) write(w http.ResponseWriter, p errorPage, what string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if p.kind != "" {
		w.Header().Set("Content-Type", p.kind)
	}
	w.WriteHeader(p.status)
	fmt.Fprint(w, strings.Replace(p.body, "%s", what, 1))
}

// page serves the pages to which the vendor redirects; mu is held.
func (u *UpstreamIDP) page(w http.ResponseWriter, path string) {
	if path == "login" {
		fmt.Fprint(w, "<html><title>Sign in</title><form method=post>")
		return
	}
	u.write(w, u.shown, "")
}

// ComparesLate has the provider compare redirect URIs only after somebody has signed in.
func (u *UpstreamIDP) ComparesLate() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pages.tellsLate = true
}
