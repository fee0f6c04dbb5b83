package testkit_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"gatehouse/internal/testkit"
)

func TestIDP(t *testing.T) {
	t.Parallel()
	idp := testkit.NewIDP(t, "/realms/acme")
	get := func(url string) (int, map[string]any) {
		res, err := idp.Client().Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var doc map[string]any
		if res.StatusCode == http.StatusOK {
			if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
				t.Fatal(err)
			}
		}
		return res.StatusCode, doc
	}
	for _, url := range []string{idp.DiscoveryURL(), idp.OAuthDiscoveryURL()} {
		if _, doc := get(url); doc["issuer"] != idp.Issuer() || doc["jwks_uri"] != idp.JWKSURL() {
			t.Errorf("%s: %v", url, doc)
		}
	}
	idp.AddKey(t, "RS256")
	if _, doc := get(idp.JWKSURL()); len(doc["keys"].([]any)) != 2 {
		t.Errorf("keys %v", doc)
	}
	idp.SetDown(true)
	if code, _ := get(idp.JWKSURL()); code != http.StatusServiceUnavailable {
		t.Errorf("down: %d", code)
	}
	if d, k := idp.Fetches(); d != 2 || k != 2 {
		t.Errorf("%d and %d fetches, want 2 and 2", d, k)
	}
}
