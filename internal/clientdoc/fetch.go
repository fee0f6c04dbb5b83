package clientdoc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fetchTimeout bounds a whole exchange, whatever the HTTP client's own bound is: a server that sends a byte a second
// must not hold a request of a person for longer.
const fetchTimeout = 5 * time.Second

// fetch gets a small JSON document. Only a plain 200 counts: no redirect is followed (draft §5).
func (c *Cache) fetch(ctx context.Context, from string, limit int64) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, nil, fail(Invalid, "the URL cannot be read", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Gatehouse")
	res, err := c.client.Do(req)
	if err != nil {
		return nil, nil, passing(Unreachable, "its host could not be reached, or its answer may not be used", err)
	}
	defer res.Body.Close()
	switch status := res.StatusCode; {
	case status >= 500 || status == http.StatusTooManyRequests:
		return nil, nil, passing(Status, fmt.Sprintf("its host answered with status %d", status), nil)
	case status != http.StatusOK:
		return nil, nil, fail(Status, fmt.Sprintf("its host answered with status %d", status), nil)
	case !isJSON(res.Header.Get("Content-Type")):
		return nil, nil, fail(Type, "it is not served as application/json", nil)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, nil, passing(Unreachable, "its host broke off while answering, or was too slow", err)
	case int64(len(body)) > limit:
		return nil, nil, fail(TooLarge, fmt.Sprintf("it is longer than %d bytes", limit), nil)
	}
	return body, res.Header, nil
}

// isJSON admits application/json and every type that is built on it (draft §4).
func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mediaType == "application/json" || strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json"))
}

// keepRedirects is a CheckRedirect hook: a redirect is an answer like any other that is not 200.
func keepRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// freshFor reads how long an answer may be kept by a shared cache (RFC 9111 §4.2), within bounds. One that says nothing is
// kept for an hour.
func freshFor(h http.Header, now time.Time, least, most time.Duration) time.Duration {
	directives := map[string]string{}
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		directives[strings.ToLower(name)] = strings.Trim(value, `"`)
	}
	for _, name := range []string{"no-store", "no-cache", "private"} {
		if _, there := directives[name]; there {
			return least
		}
	}
	lifetime := time.Hour
	if text, there := firstOf(directives, "s-maxage", "max-age"); there {
		lifetime = seconds(text, most)
	} else if text := h.Get("Expires"); text != "" {
		expires, err := http.ParseTime(text)
		if err != nil {
			return least // such as 0, which means already expired
		}
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		lifetime = expires.Sub(now)
	}
	return min(max(lifetime-seconds(h.Get("Age"), most), least), most)
}

func firstOf(m map[string]string, names ...string) (value string, there bool) {
	for _, name := range names {
		if value, there = m[name]; there {
			return value, true
		}
	}
	return "", false
}

// seconds reads delta-seconds (RFC 9111 §1.2.2), nothing for what is none, and no more than most.
func seconds(text string, most time.Duration) time.Duration {
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0
	case err != nil || n > uint64(most/time.Second):
		return most
	}
	return time.Duration(n) * time.Second
}
