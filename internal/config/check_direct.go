package config

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/vendor"
)

// direct warns where clients are sent to a provider that is known not to suit them. Only the first issuer of an
// endpoint leads its metadata; tokens of the others come about in other ways.
func (k *checker) direct() {
	var told []string
	for i := range k.cfg.Endpoints {
		e := &k.cfg.Endpoints[i]
		if len(e.Issuers) == 0 || slices.Contains(told, e.Issuers[0]) {
			continue
		}
		told = append(told, e.Issuers[0])
		if j := slices.IndexFunc(k.cfg.Authorizers, func(a Authorizer) bool { return a.Name == e.Issuers[0] }); j >= 0 {
			k.unfit(fmt.Sprintf("authorizers[%d].discovery_url", j), k.cfg.Authorizers[j])
		}
	}
	for i := range k.cfg.Authorizers {
		k.audience(fmt.Sprintf("authorizers[%d]", i), k.cfg.Authorizers[i])
	}
}

// unfit names what stands in the way at a vendor that the URL tells. That clients cannot register themselves is said
// only where no client is named, which may then be meant to.
func (k *checker) unfit(path string, a Authorizer) {
	var what []string
	for _, o := range vendor.Direct(a.DiscoveryURL) {
		switch {
		case o.Code == vendor.NoRegistration && len(a.AllowedClients) > 0:
		case o.Code == vendor.NoAudience && !slices.ContainsFunc(a.AllowedAudience, func(s string) bool { return !strings.HasPrefix(s, string(k.cfg.PublicURL)+"/") }):
			// none is looked at, or those that resource binding puts there
		case o.Code == vendor.OpaqueTokens && a.Introspection != nil:
		default:
			what = append(what, o.What)
		}
	}
	if len(what) == 0 {
		return
	}
	who := vendor.Of(a.DiscoveryURL)
	list := what[len(what)-1]
	if n := len(what); n > 1 {
		list = strings.Join(what[:n-1], ", ") + " and " + list
	}
	k.doubtful(path, fmt.Sprintf("sends MCP clients to %s, which %s", who.Title(), list),
		"Not every client gets in there: "+vendor.Facade(who)+". docs/idp/"+string(who)+".md has both ways.")
}

// audience warns where nobody looks at the audience, so that this never happens unseen.
func (k *checker) audience(path string, a Authorizer) {
	if len(a.AllowedAudience) > 0 || len(a.AllowedClients) == 0 {
		return // the latter is a fault
	}
	hint := "Have the provider put the endpoint's URL or an identifier of this API into aud, and name it in allowed_audience."
	if vendor.Of(a.DiscoveryURL) == vendor.Cognito {
		hint = "Amazon Cognito puts the endpoint's URL into aud for clients that name it as resource (resource binding): name it in allowed_audience then."
	}
	k.doubtful(path, "has no allowed_audience: a token passes that one of allowed_clients got for another API", hint)
}
