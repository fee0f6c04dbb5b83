package authn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/time/rate"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/secret"
	"gatehouse/internal/web"
)

const (
	keepActive     = time.Minute      // how long the issuer's yes is believed, or until the token expires
	keepInactive   = 30 * time.Second // how long its no is
	maxAnswers     = 8192             // tokens of which the answer is remembered
	maxAnswer      = 64 << 10         // bytes of an answer
	introspectTime = 10 * time.Second
	askPerSecond   = 20 // questions about tokens that were never active, and five times as many about those that were
	askBurst       = 100
)

// IntrospectionOptions say where to ask about tokens, and as whom.
type IntrospectionOptions struct {
	// Endpoint finds the URL of the introspection endpoint.
	Endpoint     func(ctx context.Context) (string, error)
	ClientID     string
	ClientSecret secret.Text
	Post         bool // client_secret_post instead of client_secret_basic (RFC 6749 §2.3.1)
	Client       *http.Client
	Now          func() time.Time
}

// Introspector asks an issuer about tokens that only the issuer can read (RFC 7662). Answers are remembered for a short
// time, questions about the same token at the same time are one, and their number is bounded, so that invented tokens
// cost the issuer little. Tokens that were active before have a ration of their own: a flood of invented ones does not
// shut out people who are at work.
type Introspector struct {
	o      IntrospectionOptions
	client *http.Client

	mu        sync.Mutex // guards what follows
	answers   map[digest]introspected
	flights   map[digest]*introspection
	strangers *rate.Limiter
	known     *rate.Limiter
}

// introspected is what the issuer said; it never changes.
type introspected struct {
	claims identity.Claims // nil: not active
	until  time.Time
}

// introspection is one question under way.
type introspection struct {
	done   chan struct{}
	answer introspected
	err    error
}

// NewIntrospector checks the options; it asks nothing yet.
func NewIntrospector(o IntrospectionOptions) (*Introspector, error) {
	if o.Endpoint == nil || o.ClientID == "" || o.ClientSecret.IsZero() || o.Client == nil || o.Now == nil {
		return nil, errors.New("introspection: endpoint, client id, client secret, HTTP client and clock are required")
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // it would carry the token along
	return &Introspector{
		o: o, client: &client, answers: map[digest]introspected{}, flights: map[digest]*introspection{},
		strangers: rate.NewLimiter(askPerSecond, askBurst), known: rate.NewLimiter(5*askPerSecond, 5*askBurst),
	}, nil
}

var errTooManyQuestions = errors.New("too many unknown tokens at once; the issuer is not asked about more of them")

// ask returns what the issuer says about a token, or said a moment ago.
func (i *Introspector) ask(ctx context.Context, token string) (introspected, error) {
	key := digestOf(token)
	i.mu.Lock()
	now := i.o.Now()
	answer, seen := i.answers[key]
	if seen && now.Before(answer.until) {
		i.mu.Unlock()
		return answer, nil
	}
	f := i.flights[key]
	mine := f == nil
	if mine {
		ration := i.strangers
		if seen && answer.claims != nil {
			ration = i.known
		}
		if !ration.AllowN(now, 1) {
			i.mu.Unlock()
			return introspected{}, errTooManyQuestions
		}
		f = &introspection{done: make(chan struct{}), err: errors.New("the question broke off")}
		i.flights[key] = f
	}
	i.mu.Unlock()
	if mine {
		i.fly(context.WithoutCancel(ctx), token, key, f) // it serves everybody who waits
		return f.answer, f.err
	}
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return introspected{}, ctx.Err()
	}
}

func (i *Introspector) fly(ctx context.Context, token string, key digest, f *introspection) {
	ctx, cancel := context.WithTimeout(ctx, introspectTime)
	defer cancel()
	defer func() {
		i.mu.Lock()
		delete(i.flights, key)
		if f.err == nil {
			i.remember(key, f.answer)
		}
		i.mu.Unlock()
		close(f.done)
	}()
	f.answer, f.err = i.fetch(ctx, token)
}

// remember keeps an answer and makes room for it; mu is held. What has run out is kept as long as there is room: it
// tells that the token was active once.
func (i *Introspector) remember(key digest, answer introspected) {
	if _, known := i.answers[key]; !known && len(i.answers) >= maxAnswers {
		now := i.o.Now()
		maps.DeleteFunc(i.answers, func(_ digest, a introspected) bool { return !now.Before(a.until) })
		for other := range i.answers {
			if len(i.answers) < maxAnswers {
				break
			}
			delete(i.answers, other)
		}
	}
	i.answers[key] = answer
}

// fetch asks the issuer (RFC 7662 §2.1).
func (i *Introspector) fetch(ctx context.Context, token string) (introspected, error) {
	endpoint, err := i.o.Endpoint(ctx)
	if err != nil {
		return introspected{}, fmt.Errorf("find the introspection endpoint: %w", err)
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if i.o.Post {
		form.Set("client_id", i.o.ClientID)
		form.Set("client_secret", i.o.ClientSecret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return introspected{}, fmt.Errorf("introspect at %s: %w", endpoint, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if !i.o.Post {
		req.SetBasicAuth(url.QueryEscape(i.o.ClientID), url.QueryEscape(i.o.ClientSecret.Reveal()))
	}
	res, err := i.client.Do(req)
	if err != nil {
		return introspected{}, fmt.Errorf("introspect: %w", err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return introspected{}, fmt.Errorf("introspect at %s: status %d; are client_id and client_secret of introspection right, and may that client introspect?", endpoint, res.StatusCode)
	default:
		return introspected{}, fmt.Errorf("introspect at %s: status %d", endpoint, res.StatusCode)
	}
	body, err := web.ReadAll(res.Body, maxAnswer)
	if err != nil {
		return introspected{}, fmt.Errorf("introspect at %s: %w", endpoint, err)
	}
	answer, err := i.read(body)
	if err != nil {
		return introspected{}, fmt.Errorf("introspect at %s: %w", endpoint, err)
	}
	return answer, nil
}

// read takes an answer apart (RFC 7662 §2.2).
func (i *Introspector) read(body []byte) (introspected, error) {
	var claims identity.Claims
	if err := json.Unmarshal(body, &claims); err != nil {
		return introspected{}, errors.New("the answer is not a JSON object") // the cause could quote it
	}
	active, ok := claims["active"].(bool)
	if !ok {
		return introspected{}, errors.New("the answer does not say whether the token is active")
	}
	now := i.o.Now()
	if !active {
		return introspected{until: now.Add(keepInactive)}, nil
	}
	delete(claims, "active")
	until := now.Add(keepActive)
	if expires, ok := claims.Time("exp"); ok && expires.Before(until) {
		until = expires
	}
	return introspected{claims: claims, until: until}, nil
}

// looksOpaque reports whether a token was never meant to be read by us: not a signed JWT, or an encrypted one.
func looksOpaque(token string) bool {
	return !strings.HasPrefix(token, "ey") || strings.Count(token, ".") != 2
}

// opaqueRefused names the cure, in the log only.
func opaqueRefused(err error) *Refusal {
	refusal := fromJOSE(err)
	refusal.Cause = fmt.Errorf("an opaque token: %w; have the issuer give out JWTs (Auth0: ask for the API's audience; Okta: a custom authorization server; Google: not possible), or set introspection at the authorizer", err)
	return refusal
}

// introspect asks the issuers of the endpoint about an opaque token, until one of its authorizers accepts the answer.
func introspect(ctx context.Context, token string, e *Endpoint, now time.Time) (*verified, *Refusal) {
	var refusal *Refusal
	asked := map[*Introspector]bool{}
	for _, z := range e.Authorizers {
		if z.Introspection == nil || asked[z.Introspection] {
			continue
		}
		asked[z.Introspection] = true
		v, trouble := z.introspect(ctx, token, now)
		if trouble == nil {
			trouble = v.judge(e).refusal
		}
		if trouble == nil {
			return v, nil
		}
		refusal = further(refusal, trouble)
	}
	return nil, refusal
}

func (z *Authorizer) introspect(ctx context.Context, token string, now time.Time) (*verified, *Refusal) {
	answer, err := z.Introspection.ask(ctx, token)
	if err != nil {
		return nil, unavailable(IntrospectionFailed, "the issuer of the token cannot be asked about it at the moment; try again shortly",
			fmt.Errorf("authorizer %s: %w", z.Name, err))
	}
	if answer.claims == nil {
		return nil, invalidToken(stepSignature, TokenInactive, "the issuer says that the access token is not active; sign in again",
			fmt.Errorf("authorizer %s: introspection says active: false", z.Name))
	}
	generation := z.Keys.Generation()
	claims, refusal := z.introspectedClaims(ctx, answer)
	if refusal != nil {
		return nil, refusal
	}
	v, refusal := readToken(&jose.Token{Claims: claims}, now)
	if refusal != nil {
		return nil, refusal
	}
	if _, ok := answer.claims["exp"]; !ok {
		v.lifetime = 0 // nobody said how long; the issuer is asked again soon
	}
	v.keys, v.generation, v.via, v.recheck = z.Keys, generation, z.Introspection, answer.until
	return v, nil
}

// introspectedClaims fills in what RFC 7662 leaves optional and a JWT would have: the issuer, which is the one that
// answered, and an expiry, which is when it is asked again. What the answer says must fit.
func (z *Authorizer) introspectedClaims(ctx context.Context, answer introspected) (identity.Claims, *Refusal) {
	if d, ok := z.Keys.(discovered); ok && z.issuer() == "" {
		if err := d.Load(ctx); err != nil {
			return nil, unavailable(KeysUnavailable, "the keys of the token's issuer cannot be had at the moment; try again shortly", err)
		}
	}
	claims := maps.Clone(answer.claims)
	switch iss, present := claims["iss"]; {
	case !present:
		claims["iss"] = string(z.issuer())
	default:
		if s, ok := iss.(string); !ok || !z.accepts(identity.Issuer(s)) {
			return nil, invalidToken(stepIssuer, UnknownIssuer, "the issuer of the access token is not accepted here",
				fmt.Errorf("authorizer %s: introspection says iss %.200q, expected %q", z.Name, fmt.Sprint(iss), z.issuer()))
		}
	}
	if kind, present := claims["token_type"]; present {
		if s, ok := kind.(string); !ok || !strings.EqualFold(s, schemeBearer) && !strings.EqualFold(s, schemeDPoP) {
			return nil, invalidToken(stepType, WrongTokenType, "this token is not a bearer access token", fmt.Errorf("introspection says token_type %.64q", fmt.Sprint(kind)))
		}
		// RFC 9449 §6.2: of a token that is bound to a key, the answer names the key. Without it, the token would be anybody's.
		if c, _ := claims.Confirmation(); c.Key == "" && strings.EqualFold(fmt.Sprint(kind), schemeDPoP) {
			return nil, invalidToken(stepType, UnknownBinding, "the access token is bound to a key that is not known here", errors.New("introspection says token_type DPoP, and names no key in cnf.jkt"))
		}
	}
	if _, present := claims["exp"]; !present {
		claims["exp"] = float64(answer.until.Unix())
	}
	return claims, nil
}
