package signin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/store"
)

// Bounds on what a provider says of a person. Every token carries groups and claims; the rest stands in a row.
const (
	maxGroups       = 200
	maxGroupBytes   = 4 << 10
	maxCarriedBytes = 4 << 10
	maxKnownBytes   = 32 << 10
)

// profileOf turns what a provider said into what is stored of the person. Key and id are the caller's to set.
func profileOf(p *Provider, r *oauthclient.Result) (store.FederatedPerson, error) {
	out := store.FederatedPerson{
		TokenSubject: r.Subject, Username: r.Person.Username, Name: r.Person.Name, Email: r.Person.Email,
		Groups: r.Person.Groups, GroupsUnknown: r.GroupsUnknown, Claims: p.carried(r.Person.Claims),
	}
	if p.Requires() {
		out.Known = r.Person.Claims
	}
	if len(out.Groups) > maxGroups || len(strings.Join(out.Groups, "")) > maxGroupBytes {
		out.Groups, out.GroupsUnknown = nil, true
	}
	for _, part := range []struct {
		claims map[string]any
		most   int
		hint   string
	}{
		{out.Claims, maxCarriedBytes, "let tokens carry fewer claims: shorten claims of the provider"},
		{out.Known, maxKnownBytes, "ask for fewer scopes, or let the provider put fewer claims into ID token and userinfo"},
	} {
		encoded, err := json.Marshal(part.claims)
		if err != nil {
			return out, fmt.Errorf("claims of a person at %s: %w", p.Name(), err)
		}
		if len(encoded) > part.most {
			return out, &oauthclient.Error{
				Kind: oauthclient.Misconfigured, Reason: oauthclient.ReasonTokenTooLarge, Provider: p.Name(), Hint: part.hint,
				Detail: fmt.Sprintf("claims of the person take %d bytes; %d is the limit", len(encoded), part.most),
			}
		}
	}
	return out, nil
}

// personOfFederated is the person as everybody else here knows them. A username is one that the provider gives, or the
// address that it verified, since rules go by it; never the name that people write for themselves.
func (s *Service) personOfFederated(p *Provider, f store.FederatedPerson) identity.Person {
	return identity.Person{
		Key: s.key(f.ID), Username: cmp.Or(f.Username, f.Email), Name: f.Name, Email: f.Email, EmailVerified: f.Email != "",
		Groups: f.Groups, GroupsUnknown: f.GroupsUnknown, Claims: p.carried(f.Claims), Provider: f.Provider,
	}
}

// whoseFederated fills in who has the browser session.
func (s *Service) whoseFederated(ctx context.Context, b store.BrowserSession, out *identity.SignedIn) error {
	p := s.settings.Load().provider(b.Provider)
	f, err := s.Store.FederatedPerson(ctx, b.UserID)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && (p == nil || !p.Issues(f.Issuer) || f.EndedReason != ""):
		return identity.ErrGone
	case err != nil:
		return fmt.Errorf("read person: %w", err)
	}
	out.Person, out.ProviderLabel = s.personOfFederated(p, f), p.label()
	if len(f.Sealed) == 0 {
		out.AccessFor = VouchLife
	}
	return nil
}
