package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// answer is a response, read whole.
type answer struct {
	status int
	kind   string // media type
	body   []byte
}

func (a answer) isJSON() bool {
	return a.kind == "application/json" || strings.HasSuffix(a.kind, "+json")
}

// get fetches a document, with an access token if there is one.
func (p *Provider) get(ctx context.Context, from, bearer string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return answer{}, err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return p.do(req)
}

// post sends a form with the headers given.
func (p *Provider) post(ctx context.Context, to string, form url.Values, header http.Header) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(req)
}

// do keeps URLs out of errors, since a query may carry what is not for the log.
func (p *Provider) do(req *http.Request) (answer, error) {
	req.Header.Set("Accept", "application/json")
	res, err := p.client.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return answer{}, fmt.Errorf("%s %s: %w", req.Method, req.URL.Host+req.URL.EscapedPath(), err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", req.Method, req.URL.Host+req.URL.EscapedPath(), err)
	}
	if len(body) > maxDocument {
		return answer{}, fmt.Errorf("%s %s: the answer is longer than %d bytes", req.Method, req.URL.Host+req.URL.EscapedPath(), maxDocument)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return answer{res.StatusCode, kind, body}, nil
}
