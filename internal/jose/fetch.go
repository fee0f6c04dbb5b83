package jose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/loopback"
)

// checkURL admits https, and http on the loopback interface.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return fmt.Errorf("read URL: %w", err)
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("URL %q: want https://host/path without user and fragment", u.Redacted())
	case u.Scheme == "https" || u.Scheme == "http" && loopback.Is(u.Hostname()):
		return nil
	}
	return fmt.Errorf("URL %q: keys are fetched over https only, or over http from this very machine", raw)
}

// checkNamed is checkURL for a URL that a document names: one that came over https names https only, or an issuer elsewhere
// could have this machine's own services asked.
func checkNamed(document, raw string) error {
	if strings.HasPrefix(document, "https:") && strings.HasPrefix(strings.ToLower(raw), "http:") {
		return fmt.Errorf("URL %q: a document that came over https must name https", raw)
	}
	return checkURL(raw)
}

// sameHostOnly follows a redirect only to where the request was sent in the first place, and only if the client's own
// rule allows it too.
func sameHostOnly(own func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		first := via[0].URL
		if req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
			return fmt.Errorf("redirect to another host (%s) refused", req.URL.Host)
		}
		if len(via) >= 3 {
			return errors.New("too many redirects")
		}
		if own != nil {
			return own(req, via)
		}
		return nil
	}
}

// fetch gets a small document.
func fetch(ctx context.Context, client *http.Client, from string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("get %s: status %d", from, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", from, err)
	}
	if len(body) > maxKeySet {
		return nil, nil, fmt.Errorf("get %s: longer than %d bytes", from, maxKeySet)
	}
	return body, res.Header, nil
}

// freshFor reads how long an answer may be kept from Cache-Control (RFC 9111 §5.2.2), within what a key cache can
// bear: often enough to see a rotation, seldom enough to spare the issuer.
func freshFor(h http.Header) time.Duration {
	const least, usual, most = time.Minute, 10 * time.Minute, time.Hour
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return least
		case "max-age":
			seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32)
			if err != nil {
				return usual
			}
			return min(max(time.Duration(seconds)*time.Second, least), most)
		}
	}
	return usual
}
