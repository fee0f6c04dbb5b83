package authn_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/testkit"
)

// TestExplainBinding: for a token that is bound, what its proof lacks, in the words of the refusal that a request gets.
func TestExplainBinding(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	open := h.endpoint(t, "/mcp", h.ownRules())
	strict := h.endpoint(t, "/mcp", h.ownRules())
	strict.DPoPRequired = true
	key, other := testkit.NewDPoPKey(t, "ES256"), testkit.NewDPoPKey(t, "ES256")
	token := h.ownToken(t, "at+jwt", bound(key, t, nil))
	free := h.ownToken(t, "at+jwt", nil)
	good := h.proofFor(t, key, token, nil)
	for name, c := range map[string]struct {
		e      *authn.Endpoint
		token  string
		how    authn.Shown
		reason authn.Reason // empty: accepted
		says   string       // in the check called binding, or in the first cause
	}{
		"bearer":              {open, free, authn.Shown{}, "", "bound to no key"},
		"bound":               {open, token, authn.Shown{}, "", "refused (token_bound)"},
		"bound, pasted whole": {open, "DPoP " + token, authn.Shown{}, "", "refused (token_bound)"},
		"with proof":          {open, token, authn.Shown{Proof: good}, "", "a proof with the key"},
		"proof with newline":  {strict, token, authn.Shown{Proof: good + "\n", Method: "POST"}, "", "a proof with the key"},
		"old proof":           {open, token, authn.Shown{Proof: h.proofFor(t, key, token, map[string]any{"iat": h.now().Add(-time.Hour).Unix()})}, "", "a proof with the key"},
		"required":            {strict, free, authn.Shown{}, authn.DPoPRequired, "dpop: required"},
		"unbound, with proof": {open, free, authn.Shown{Proof: h.proofFor(t, key, free, nil)}, authn.TokenNotBound, "without a proof"},
		"another key":         {open, token, authn.Shown{Proof: h.proofFor(t, other, token, nil)}, authn.WrongKey, "changed its key"},
		"another address":     {open, token, authn.Shown{Proof: h.proofFor(t, key, token, map[string]any{"htu": "http://10.0.0.7:8080/mcp"})}, "proof_wrong_url", "behind a proxy"},
		"another method":      {open, token, authn.Shown{Proof: good, Method: "GET"}, "proof_wrong_method", "another method"},
		"another token":       {open, token, authn.Shown{Proof: h.proofFor(t, key, free, nil)}, "proof_wrong_token", "another token"},
		"from the future":     {open, token, authn.Shown{Proof: h.proofFor(t, key, token, map[string]any{"iat": h.now().Add(time.Hour).Unix()})}, "proof_wrong_time", "ahead"},
		"no proof at all":     {open, token, authn.Shown{Proof: "x"}, "proof_malformed", "is none"},
		"the token as proof":  {open, token, authn.Shown{Proof: token}, "proof_wrong_type", "is none"},
		"weak proof":          {open, token, authn.Shown{Proof: testkit.NewDPoPKey(t, "ES384").Proof(t, "POST", origin+"/mcp", h.now(), nil)}, "proof_alg_refused", "key or algorithm"},
		"unknown way":         {open, h.ownToken(t, "at+jwt", map[string]any{"cnf": map[string]any{"kid": "k"}}), authn.Shown{}, authn.UnknownBinding, "does not know"},
	} {
		x := authn.Explain(t.Context(), c.token, c.e, authn.ExplainOptions{Now: h.now(), Revocations: h.revoked, Shown: c.how})
		var reason authn.Reason
		var said string
		if x.Refusal != nil {
			reason, said = x.Refusal.Reason, x.Causes[0].What
		}
		for _, check := range x.Checks {
			if check.Name == "binding" {
				said += " " + check.Found
			}
			if check.Name == "revocation" && check.Outcome == authn.Failed {
				t.Errorf("%s: said to be revoked", name)
			}
			if strings.Contains(check.Found, good[:30]) || strings.Contains(check.Found, token[len(token)-20:]) {
				t.Errorf("%s: shows the proof or the token: %s", name, check.Found)
			}
		}
		if reason != c.reason || !strings.Contains(said, c.says) {
			t.Errorf("%s: %q, want %q; says %q, want %q", name, reason, c.reason, said, c.says)
		}
		// What it says is what a request gets, unless time has passed.
		if c.how.Proof == "" || c.how.Method == "GET" || name == "old proof" {
			continue
		}
		if c.reason == "" {
			continue // TestDPoP
		}
		_, w := h.ask(withProof(c.token, c.how.Proof), c.e)
		if params := parseChallengeOf(t, w, "DPoP "); !strings.HasSuffix(params["error_description"], "("+string(c.reason)+")") {
			t.Errorf("%s: a request gets %v", name, params)
		}
	}
}
