//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// The IdP's keys as they live: rotated while calls are in flight, looked for on behalf of forgers, out of reach.
func TestIDPKeys(t *testing.T) {
	at := newPlace(t)
	p, provider := startOIDCProvider(t, at, oidcProviderOptions{Registration: true, Resource: "indicators"})
	p.audience = at.house + "/mcp"
	h := startDirect(t, at, p, direct{services: "service"})
	alice := remoteDirect(t, at, p, t.TempDir(), username)
	token := serviceToken(t, p, p.audience)

	t.Run("rotation under load", func(t *testing.T) {
		before := keyFetches(t, at)
		load := startLoad(t, p.audience, "service", token)
		load.untilEach(3)
		get(t, at.idp+"/test/rotate")
		old := token
		token = serviceToken(t, p, p.audience)
		if keyID(t, old) == keyID(t, token) {
			t.Fatal("the IdP did not rotate its key")
		}
		load.use(token)
		load.untilEach(3)
		load.use(old) // of a key that is still published
		load.untilEach(1)
		load.stop()
		whoami(t, alice)
		if n := keyFetches(t, at) - before; n < 1 || n > 2 {
			t.Errorf("a rotation took %d fetches of the key set, want 1 or 2", n)
		}
	})

	t.Run("forged key ids", func(t *testing.T) {
		before, began := keyFetches(t, at), time.Now()
		key := testkit.NewIDPKey(t, "ES256")
		for i := range 200 {
			key.KID = fmt.Sprintf("forged-%d", i)
			if status := newCaller(t, p.audience).initialize(forge(t, key, at)); status != http.StatusUnauthorized {
				t.Fatalf("a token with an invented key gets %d, want 401", status)
			}
		}
		allowed := 2 + int(time.Since(began)/(10*time.Second)) + 1
		if n := keyFetches(t, at) - before; n > allowed {
			t.Errorf("200 forged key ids caused %d fetches of the key set, want at most %d", n, allowed)
		}
		if status := newCaller(t, p.audience).initialize(token); status != http.StatusOK {
			t.Errorf("after the forgeries a good token gets %d", status)
		}
	})

	t.Run("IdP down", func(t *testing.T) {
		provider.stop()
		whoami(t, alice)
		if status := newCaller(t, p.audience).initialize(token); status != http.StatusOK {
			t.Errorf("while the IdP is down a good token gets %d", status)
		}
		key := testkit.NewIDPKey(t, "ES256")
		if status := newCaller(t, p.audience).initialize(forge(t, key, at)); status != http.StatusUnauthorized {
			t.Errorf("while the IdP is down a token with an unknown key gets %d, want 401", status)
		}
		h.logged(t, `"auth_refused":"unknown_key"`)
	})

	t.Run("restart while the IdP is down", func(t *testing.T) {
		h.stop()
		h.start()
		if status := newCaller(t, p.audience).initialize(token); status != http.StatusServiceUnavailable {
			t.Errorf("without any keys a token gets %d, want 503: it may well be good", status)
		}
	})
}

// forge makes a token that is right in everything but its key.
func forge(t *testing.T, key *testkit.IDPKey, at place) string {
	t.Helper()
	now := time.Now()
	return testkit.MintToken(t, key, map[string]any{"typ": "at+jwt"}, map[string]any{
		"iss": at.idp, "aud": at.house + "/mcp", "sub": username, "client_id": "service", "jti": key.KID,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "scope": "mcp:tools",
	})
}

// serviceToken gets an access token without a person, which is quick to have again after a rotation.
func serviceToken(t *testing.T, p *idp, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {"mcp:tools"}}
	return tokenFrom(t, strings.TrimSuffix(p.discovery, "/.well-known/openid-configuration")+"/token", "service", "a secret of the service", form)
}

// tokenFrom returns the access token of a token endpoint's answer.
func tokenFrom(t *testing.T, endpoint, client, secret string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client != "" {
		req.SetBasicAuth(client, url.QueryEscape(secret))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("ask for a token: %v", err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		Error       string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("ask %s for a token: %s %s (%v)", endpoint, resp.Status, answer.Error, err)
	}
	return answer.AccessToken
}

// claimsOf reads a JWT without checking it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal(segment(t, token, 1), &claims); err != nil {
		t.Fatalf("claims of the token: %v", err)
	}
	return claims
}

func segment(t *testing.T, token string, i int) []byte {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token with %d segments is no JWT", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		t.Fatalf("segment %d of the token: %v", i, err)
	}
	return raw
}

func keyID(t *testing.T, token string) string {
	t.Helper()
	var header struct {
		KID string `json:"kid"`
	}
	if err := json.Unmarshal(segment(t, token, 0), &header); err != nil {
		t.Fatalf("header of the token: %v", err)
	}
	return header.KID
}

func keyFetches(t *testing.T, at place) int {
	t.Helper()
	n, err := strconv.Atoi(get(t, at.idp+"/test/fetches"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func get(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", address, resp.Status, err)
	}
	return string(body)
}

// load keeps 50 calls in flight, each in a session of its own. Any refusal fails the test.
type load struct {
	t     *testing.T
	token atomic.Pointer[string]
	calls []atomic.Int64
	grew  chan struct{}
	done  chan struct{}
	once  sync.Once // closes done
	wait  sync.WaitGroup
}

const inFlight = 50

func startLoad(t *testing.T, url, subject, token string) *load {
	t.Helper()
	l := &load{t: t, done: make(chan struct{}), calls: make([]atomic.Int64, inFlight), grew: make(chan struct{}, 1)}
	l.use(token)
	t.Cleanup(l.stop)
	for i := range inFlight {
		c := newCaller(t, url)
		if status := c.initialize(token); status != http.StatusOK {
			t.Fatalf("initialize of caller %d: %d", i, status)
		}
		l.wait.Go(func() { l.run(c, subject, &l.calls[i]) })
	}
	return l
}

func (l *load) use(token string) { l.token.Store(&token) }

func (l *load) run(c *caller, subject string, calls *atomic.Int64) {
	for {
		select {
		case <-l.done:
			return
		default:
		}
		if status, known := c.whoami(*l.token.Load(), subject); status != http.StatusOK || !known {
			l.t.Errorf("a call under load was answered with %d, its person known: %t", status, known)
		}
		calls.Add(1)
		select {
		case l.grew <- struct{}{}:
		default:
		}
	}
}

// untilEach waits until each caller has begun and finished n more calls.
func (l *load) untilEach(n int64) {
	l.t.Helper()
	var goal [inFlight]int64
	for i := range goal {
		goal[i] = l.calls[i].Load() + n + 1 // the call under way may have begun before
	}
	deadline := time.After(30 * time.Second)
	for i := 0; i < inFlight; {
		if l.calls[i].Load() >= goal[i] {
			i++
			continue
		}
		select {
		case <-l.grew:
		case <-deadline:
			l.t.Fatal("the load does not get on")
		}
	}
}

func (l *load) stop() {
	l.once.Do(func() { close(l.done) })
	l.wait.Wait()
}
