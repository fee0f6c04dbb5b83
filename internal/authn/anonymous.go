package authn

import (
	"errors"
	"net/http"
	"net/netip"

	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

// anonymous admits a request to an endpoint that looks at no token, as the same principal each time. Such an endpoint
// exists for test suites on the same machine; the configuration is refused when anything else could reach it. A proxy
// that nobody declared shows itself in a header.
func anonymous(r *http.Request) (*identity.Principal, error) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	local := err == nil && from.Addr().Unmap().IsLoopback()
	for _, sign := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		local = local && r.Header[sign] == nil
	}
	if !local {
		web.Note(r.Context(), "auth_refused", string(NotLocal))
		return nil, &Refusal{Status: http.StatusForbidden, Code: codeInvalidRequest, Reason: NotLocal,
			Description: "this endpoint is for tests on the machine that Gatehouse runs on",
			Cause:       errors.New("the request came from another machine, or through a proxy")}
	}
	return &identity.Principal{
		Key:    identity.PersonKey{Issuer: "urn:gatehouse:anonymous", Subject: "anonymous"},
		Client: "anonymous", Claims: identity.Claims{},
	}, nil
}
