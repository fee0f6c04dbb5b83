package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Origins is a set of web origins (RFC 6454), in the form in which browsers send them.
type Origins struct{ set map[string]bool }

// ParseOrigins reads origins such as https://inspector.acme.example. There is no wildcard.
func ParseOrigins(list ...string) (Origins, error) {
	o := Origins{set: make(map[string]bool, len(list))}
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || strings.Contains(s, "*") {
			return Origins{}, fmt.Errorf("origin %q: write scheme and host, with the port unless it is the default, such as https://inspector.acme.example; there is no wildcard", s)
		}
		o.set[normalOrigin(u)] = true
	}
	return o, nil
}

func normalOrigin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	if scheme == "http" {
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}

// Has reports whether an Origin header's value is in the set. "null" never is.
func (o Origins) Has(origin string) bool { return o.set[origin] }

// refuseOrigin answers what a browser sends from an origin that is not in the set.
func refuseOrigin(w http.ResponseWriter, r *http.Request, origin []string) {
	Note(r.Context(), "detail", fmt.Sprintf("origin %q is not in allowed_origins", clip(strings.Join(origin, ", "), 128)))
	WriteError(w, r, &Error{Status: http.StatusForbidden, Code: "origin_not_allowed", Message: "requests from this web origin are not allowed"})
}
