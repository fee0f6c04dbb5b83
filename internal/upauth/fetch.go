package upauth

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/web"
)

const maxDocument = 256 << 10

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// client returns the HTTP client that may go to a URL: trusted says that the administrator answers for it.
func (s *Source) client(u *url.URL, trusted bool) *http.Client {
	if trusted || origin(u) == origin(s.target) {
		return s.o.Near
	}
	return s.o.Far
}

// do sends a request. Redirects are not followed. URLs stay out of errors but for host and path, since queries may carry
// what is not for the log.
func (s *Source) do(req *http.Request, trusted bool) (answer, error) {
	c := *s.client(req.URL, trusted)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req.Header.Set("Accept", "application/json")
	resp, err := c.Do(req)
	at := fmt.Sprintf("%s %s", req.Method, req.URL.Host+req.URL.EscapedPath())
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return answer{}, fmt.Errorf("%s: %w", at, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := web.ReadAll(resp.Body, maxDocument)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", at, err)
	}
	s.noteNonce(req.URL, resp.Header)
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// errAbsent means that there is no such document.
var errAbsent = errors.New("there is none")

// document gets a JSON document; errAbsent is the error when the answer is a client error, a redirect or a page.
func (s *Source) document(ctx context.Context, from string, trusted bool, into any) error {
	u, err := url.Parse(from)
	if err != nil || u.Host == "" {
		return errors.New("it is no URL")
	}
	if origin(u) != origin(s.target) { // what may be plain http is the target itself, which the administrator has been warned of
		if u, err = secureURL(from); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	a, err := s.do(req, trusted)
	switch {
	case err != nil:
		return err
	case a.status/100 == 4 || a.status/100 == 3:
		return fmt.Errorf("%w: HTTP status %d", errAbsent, a.status)
	case a.status != http.StatusOK:
		return fmt.Errorf("HTTP status %d", a.status)
	case !isJSON(a.header):
		return fmt.Errorf("%w: content type %.100q, want application/json", errAbsent, a.header.Get("Content-Type"))
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	return nil
}

func isJSON(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}
