package oauthclient_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/oauthclient"
)

// FuzzCallback feeds queries to a sign-in under way: nothing but an answer with its state and iss gets as far as the
// token endpoint.
func FuzzCallback(f *testing.F) {
	s := newSite(f, "", nil)
	_, pending := s.begin(oauthclient.BeginOptions{})
	pending.State, pending.Nonce = "STATE", "NONCE"
	iss := url.QueryEscape(s.idp.Issuer())
	for _, q := range []string{
		"", "code=c&state=STATE&iss=" + iss, "code=c&state=STATE", "state=STATE&error=access_denied&error_description=no&iss=" + iss,
		"code=c&state=STATE&state=STATE&iss=" + iss, "code=c&code=d&state=STATE", "error=%00&state=STATE&iss=" + iss, "code=c&state=&iss=", "iss=" + iss + "/&state=STATE&code=c",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		query, err := url.ParseQuery(raw)
		if err != nil {
			t.Skip()
		}
		before := len(s.idp.Requests("token"))
		_, err = s.Finish(context.Background(), pending, query)
		e, ok := err.(*oauthclient.Error)
		if !ok {
			t.Fatalf("%q: %v", raw, err)
		}
		asked := len(s.idp.Requests("token")) != before
		good := len(query["state"]) == 1 && query.Get("state") == "STATE" && len(query["iss"]) == 1 && query.Get("iss") == s.idp.Issuer() &&
			len(query["code"]) == 1 && !query.Has("error")
		if asked && !good {
			t.Errorf("%q reached the token endpoint", raw)
		}
		if strings.ContainsAny(e.Error()+e.Code, "\n\r\x00") || strings.ContainsAny(e.Description, "\n\r\x00") {
			t.Errorf("%q: control characters in %+v", raw, e)
		}
	})
}

// FuzzLogoutToken feeds texts that the IdP did not sign: none is accepted, and none panics.
func FuzzLogoutToken(f *testing.F) {
	s := newSite(f, "keycloak", nil)
	good := s.idp.LogoutToken(f, nil, nil)
	if _, err := s.VerifyLogoutToken(context.Background(), good); err != nil {
		f.Fatal(err)
	}
	for _, token := range []string{"", "..", "a.b.c", good + "x", good[1:], strings.ToUpper(good), strings.Replace(good, ".", "..", 1), "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if l, err := s.VerifyLogoutToken(context.Background(), token); (err == nil) != (l != nil) || err == nil && token != good {
			t.Errorf("%q is accepted: %+v", token, l)
		}
	})
}
