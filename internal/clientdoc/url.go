package clientdoc

import (
	"errors"
	"net/url"
	"strings"
)

// MaxURL bounds a URL in bytes. Every authorization request carries one.
const MaxURL = 512

// IsURL reports whether a client_id is meant as a URL, good or bad. Other kinds of ids never look like one.
func IsURL(id string) bool {
	scheme, _, found := strings.Cut(id, "://")
	return found && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http"))
}

// CheckURL says whether a client_id can name a document (draft §3), from its text alone, and returns its host. It is
// stricter than the draft where a URL could mean two things: one spelling of scheme and host, the default port, no
// query, no escaped dots or slashes.
func CheckURL(id string) (host string, err error) {
	host, path, err := split(id)
	switch {
	case err != nil:
		return "", err
	case strings.Trim(path, "/") == "":
		return "", errors.New("it needs a path")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return "", errors.New("one or two dots are a segment of its path")
		}
	}
	for _, escaped := range []string{"%2e", "%2f", "%5c"} {
		if strings.Contains(strings.ToLower(path), escaped) {
			return "", errors.New("its path has an escaped dot or slash")
		}
	}
	return host, nil
}

// split checks what holds for every URL that a stranger wants fetched.
func split(text string) (host, path string, err error) {
	rest, found := strings.CutPrefix(text, "https://")
	switch {
	case !found:
		return "", "", errors.New("it does not begin with https://")
	case len(text) > MaxURL:
		return "", "", errors.New("it is too long")
	case strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune("\\\"<>^`{|}", c) }):
		return "", "", errors.New("it has characters that do not belong into a URL")
	case strings.ContainsAny(text, "?#"):
		return "", "", errors.New("it has a query or a fragment")
	}
	authority, _, _ := strings.Cut(rest, "/")
	path = rest[len(authority):]
	host = strings.TrimSuffix(authority, ":443")
	switch {
	case strings.Contains(authority, "@"):
		return "", "", errors.New("it has a user name")
	case strings.ContainsAny(host, ":[]"):
		return "", "", errors.New("it has another port than 443, or an address instead of a host name")
	}
	if err := checkHost(host); err != nil {
		return "", "", err
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() != host || u.EscapedPath() != path {
		return "", "", errors.New("it is not a URL in its plain form")
	}
	return host, path, nil
}

// checkHost admits names that belong to the public DNS, in their one ASCII spelling, and none that a resolver or a
// browser could take for an address.
func checkHost(host string) error {
	labels := strings.Split(host, ".")
	if len(host) > 253 || len(labels) < 2 {
		return errors.New("its host is not a public host name")
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return errors.New("its host is not a host name in lower-case ASCII; write other scripts in their xn-- form")
		}
	}
	// WHATWG URL §3.5: what ends in a number is an IPv4 address in one of its spellings.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return errors.New("its host is an address instead of a host name")
	}
	return nil
}
