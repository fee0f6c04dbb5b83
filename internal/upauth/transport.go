package upauth

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"gatehouse/internal/dpop"
)

const (
	maxRenewals = 1 // of a token, for one request
	maxStepUps  = 2 // for more scopes, for one request

	// A target that refuses what it took a moment ago may be at it all day: its authorization server is not to suffer.
	refusalBurst = 6
	refusalEvery = 10 * time.Second
)

// Transport returns a round tripper that sends requests to the target through next with a token of the source. When the
// target refuses the token it gets another one and sends the request again, a bounded number of times. Requests to any
// other origin pass untouched.
//
// The error is an *Error when there is no token, and when the target refuses the one that there is.
func (s *Source) Transport(next http.RoundTripper) http.RoundTripper { return &transport{s, next} }

type transport struct {
	s    *Source
	next http.RoundTripper
}

// tries counts what was tried for one request.
type tries struct{ renewals, stepUps, nonces int }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if origin(req.URL) != origin(t.s.target) {
		return t.next.RoundTrip(req)
	}
	tok, err := t.s.current(req.Context())
	if err != nil {
		closeBody(req.Body)
		return nil, err
	}
	body := req.Body
	for count := (tries{}); ; {
		resp, err := t.send(req, body, tok)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
			if tok != nil {
				tok.worked.Store(true)
			}
			return resp, nil
		}
		replay := req.GetBody
		if replay == nil && req.Body != nil && req.Body != http.NoBody {
			return resp, nil
		}
		better, again, err := t.s.answer(req, resp, tok, &count)
		if err != nil || again {
			drain(resp)
		}
		if err != nil {
			return nil, err
		}
		if !again {
			return resp, nil
		}
		tok = better
		if replay != nil {
			if body, err = replay(); err != nil {
				return nil, err
			}
		}
	}
}

// send sends the request with a token, which may be nil. The request given stays as it is.
func (t *transport) send(req *http.Request, body io.ReadCloser, tok *token) (*http.Response, error) {
	out := req.WithContext(req.Context())
	out.Body = body
	if tok != nil {
		out.Header = maps.Clone(req.Header)
		out.Header["Authorization"] = []string{tok.scheme() + " " + tok.access.Reveal()}
		if tok.bound {
			proof, err := t.s.proof(req, tok)
			if err != nil {
				closeBody(body)
				return nil, err
			}
			out.Header[dpop.Header] = []string{proof}
		}
	}
	resp, err := t.next.RoundTrip(out)
	if err == nil {
		t.s.noteNonce(req.URL, resp.Header)
	}
	return resp, err
}

// proof makes a proof for a request to the target; it covers the body (SEP-1932).
func (s *Source) proof(req *http.Request, tok *token) (string, error) {
	m := dpop.Made{Method: req.Method, URL: req.URL, Token: tok.access.Reveal(), Nonce: s.nonce(req.URL)}
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return "", err
		}
		defer closeBody(body)
		if m.Body, err = io.ReadAll(body); err != nil {
			return "", err
		}
	}
	return s.key.Proof(m, s.o.Now())
}

// answer looks at a refusal, and says whether to send the request again, and with which token.
func (s *Source) answer(req *http.Request, resp *http.Response, tok *token, count *tries) (better *token, again bool, err error) {
	c := readChallenge(resp.Header, tok.scheme())
	n := need{refused: tok, named: c.metadata, scopes: c.scopes, fresh: true}
	switch {
	case tok != nil && tok.bound && c.code == "use_dpop_nonce" && resp.Header.Get("DPoP-Nonce") != "":
		count.nonces++
		if count.nonces > 1 {
			return nil, false, s.refusedToken(resp, c, "")
		}
		return tok, true, nil
	case resp.StatusCode == http.StatusUnauthorized:
		if count.renewals++; count.renewals > maxRenewals || s.hopeless(tok) {
			return nil, false, s.refusedToken(resp, c, "does the target expect tokens of another audience, scope or client?")
		}
	case c.code == "insufficient_scope":
		if count.stepUps++; count.stepUps > maxStepUps || !s.mayAskMore(c) {
			return nil, false, s.refusedToken(resp, c, "the client may need these scopes at the authorization server, and so may the list of scopes here, if there is one")
		}
		n.refused, n.more = nil, true
	default: // it is not about the token
		return nil, false, nil
	}
	if !s.budget.AllowN(s.o.Now(), 1) {
		return nil, false, s.refusedToken(resp, c, "it has refused so many that no more are asked for at the moment")
	}
	if better, err = s.renew(req.Context(), n); err == nil && better == tok {
		err = s.refusedToken(resp, c, "")
	}
	return better, err == nil, err
}

// refusedToken says what the target said about a token, or about its absence.
func (s *Source) refusedToken(resp *http.Response, c challenge, hint string) error {
	said := fmt.Sprintf("the target refuses it with HTTP status %d", resp.StatusCode)
	if c.code != "" {
		said += fmt.Sprintf(", error %.100q", c.code)
	}
	if len(c.scopes) > 0 {
		said += fmt.Sprintf(", scopes %.300q", c.scopes.String())
	}
	return s.fail("use the token", errors.New(said), hint)
}

// hopeless reports whether a token was refused that had only just been made because of a refusal.
func (s *Source) hopeless(tok *token) bool {
	return tok != nil && tok.renewal && !tok.worked.Load() && s.o.Now().Before(tok.born.Add(refusalPause))
}

// mayAskMore reports whether a challenge names scopes that were not asked for yet. Asking again for what was asked for
// would lead to the same refusal, and what the administrator wrote is all that is ever asked for.
func (s *Source) mayAskMore(c challenge) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.o.Scopes) == 0 && len(c.scopes) > 0 && !s.asked.HasAll(c.scopes) && len(s.asked.Union(c.scopes)) <= maxScopes
}

func closeBody(body io.ReadCloser) {
	if body != nil {
		_ = body.Close()
	}
}

// drain reads a little of what is left, so that the connection can be used again, and closes the body.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}
