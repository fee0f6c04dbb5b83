package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/clientdoc"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// Documents says which client ID metadata documents are accepted (draft-ietf-oauth-client-id-metadata-document).
type Documents struct {
	Off     bool
	Hosts   []string // the only hosts; none for every public one
	Trusted []string // hosts whose documents are fetched before anybody has signed in
}

// keysTooOld is the age from which a key set is fetched again when a key is missing in it.
const keysTooOld = 30 * time.Second

// account is at whose expense documents are fetched. People pay for their own sign-ins; what strangers can cause is rationed,
// in several accounts, so that none of them can spend what another needs (checklist 13).
type account struct {
	permit func(ctx context.Context, id identity.ClientID, host string, marked bool) (clientdoc.Permit, error)
	stale  bool // a document of up to a day ago will do when there is none newer to be had
}

func (a account) query(id identity.ClientID, host string) clientdoc.Query {
	return clientdoc.Query{Stale: a.stale, Permit: func(ctx context.Context, marked bool) (clientdoc.Permit, error) {
		return a.permit(ctx, id, host, marked)
	}}
}

// browserAccount is for pages. A person who is signed in pays; before that, documents of trusted hosts alone are fetched,
// and few of them. Who signs in has the document as it is now.
func (s *Server) browserAccount(r *http.Request) account {
	return account{permit: func(_ context.Context, _ identity.ClientID, host string, _ bool) (clientdoc.Permit, error) {
		if who, ok := s.SignIn.Current(r); ok {
			if ok, _ := s.documentsByPerson.Allow(who.Person.Key.String()); ok {
				return clientdoc.Vouched, nil
			}
			return clientdoc.Refused, nil
		}
		if !slices.Contains(s.current.Load().documents.Trusted, host) {
			return clientdoc.Refused, nil
		}
		return allowed(r, s.documentsEarlyByAddr, s.documentsEarly), nil
	}}
}

// apiAccount is for the endpoints of programs. Who shows something that we issued to the client, and what was fetched
// for such a one, is not rationed: strangers must not be able to keep clients with grants from refreshing them. That is
// bounded by how long outcomes are kept.
func (s *Server) apiAccount(r *http.Request, form url.Values) account {
	return account{stale: true, permit: func(ctx context.Context, id identity.ClientID, _ string, marked bool) (clientdoc.Permit, error) {
		if marked {
			return clientdoc.Vouched, nil
		}
		switch ours, err := s.showsOurs(ctx, id, form); {
		case err != nil:
			return clientdoc.Refused, err
		case ours:
			return clientdoc.Vouched, nil
		}
		return allowed(r, s.documentsAPIByAddr, s.documentsAPI), nil
	}}
}

func allowed(r *http.Request, byAddr, together *web.RateLimiter) clientdoc.Permit {
	refund, _ := byAddr.Try(web.AddrKey(web.ClientIP(r)))
	if refund == nil {
		return clientdoc.Refused
	}
	if ok, _ := together.Allow(""); !ok {
		refund()
		return clientdoc.Refused
	}
	return clientdoc.Granted
}

// showsOurs reports whether a request carries a code or a token that was issued to the client.
func (s *Server) showsOurs(ctx context.Context, id identity.ClientID, form url.Values) (bool, error) {
	owner, err := s.ownerOf(ctx, form)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, unavailable(err)
	}
	return owner == id, nil
}

func (s *Server) ownerOf(ctx context.Context, form url.Values) (identity.ClientID, error) {
	if text := form.Get("code"); text != "" {
		return s.Store.ClientOfCode(ctx, hash(text))
	}
	if text := form.Get("device_code"); text != "" {
		return s.Store.ClientOfCode(ctx, hashDeviceCode(text))
	}
	token := form.Get("refresh_token") + form.Get("token") // of a refresh, or of a revocation
	if token == "" {
		return "", store.ErrNotFound
	}
	grant, err := s.grantOf(ctx, token)
	return grant.Client, err
}

// documentHost says whether a client_id names a document that is accepted here, from its text and the settings alone.
func (c *settings) documentHost(issuer identity.Issuer, id identity.ClientID) (string, error) {
	if c.documents.Off {
		return "", refuse(codeInvalidClient, "documents_off", "clients that are named by a URL are not accepted here; ask the administrator for a client_id")
	}
	host, err := clientdoc.CheckURL(string(id))
	switch {
	case err != nil:
		return "", refuse(codeInvalidClient, "document_url", "the client_id cannot name a client ID metadata document: "+err.Error())
	case strings.HasPrefix(string(id), string(issuer)+"/"):
		return "", refuse(codeInvalidClient, "document_own", "this server publishes no client ID metadata documents")
	case len(c.documents.Hosts) > 0 && !slices.Contains(c.documents.Hosts, host):
		return "", refuse(codeInvalidClient, "document_host_refused", "applications of "+host+" are not accepted here; ask the administrator")
	}
	return host, nil
}

// documented finds the client that a document describes. When it would have to be fetched and may not, the client is
// pending.
func (s *Server) documented(ctx context.Context, id identity.ClientID, host string, on account) (*Client, error) {
	doc, err := s.Documents.Document(ctx, string(id), on.query(id, host))
	if fault, ok := errors.AsType[*clientdoc.Error](err); ok {
		return nil, refuseDocument(host, fault)
	}
	switch {
	case errors.Is(err, clientdoc.ErrNotFetched):
		return &Client{ID: id, Host: host, registered: true, pending: true}, nil
	case err != nil && ctx.Err() != nil:
		return nil, unavailable(err)
	case err != nil:
		return nil, err
	}
	return s.clientFrom(doc, on)
}

func refuseDocument(host string, fault *clientdoc.Error) *web.Error {
	e := refuse(codeInvalidClient, string(fault.Reason), "the metadata document of this client, at "+host+", cannot be used: "+fault.Detail)
	if e.Cause = fault; fault.Temporary() {
		e.Status, e.Code, e.RetryAfter = http.StatusServiceUnavailable, codeUnavailable, time.Minute
	}
	return e
}

// clientFrom turns what a document says into what is in force.
func (s *Server) clientFrom(doc *clientdoc.Document, on account) (*Client, error) {
	current := s.current.Load()
	client := &Client{
		ID: identity.ClientID(doc.URL), Host: doc.Host, Name: cleanName(doc.Name), AuthMethod: doc.AuthMethod, AssertionAlg: doc.AssertionAlg,
		GrantTypes: current.documentGrants(doc.GrantTypes), Lifetimes: current.lifetimes, registered: true,
	}
	for _, uri := range doc.RedirectURIs { // one that we would never redirect to spoils no other
		if checkRedirect(uri, current.schemes) == nil {
			client.RedirectURIs = append(client.RedirectURIs, uri)
		}
	}
	if doc.AuthMethod != AuthPrivateKey {
		return client, nil
	}
	if doc.AssertionAlg != "" && !slices.Contains(assertionAlgs(), doc.AssertionAlg) {
		return nil, refuse(codeInvalidClient, "assertion_algorithm_unsupported", "the client's metadata document names a signature algorithm that is not accepted; use one of "+strings.Join(assertionAlgs(), ", "))
	}
	if doc.KeysURI != "" {
		client.Keys = &documentKeys{server: s, client: client.ID, uri: doc.KeysURI, host: doc.Host, on: on}
		return client, nil
	}
	keys, err := jose.ParseKeySet(doc.Keys)
	if err != nil {
		e := refuse(codeInvalidClient, "jwks_unusable", "the client's metadata document has no key that can verify signatures")
		e.Cause = err
		return nil, e
	}
	client.Keys = keys
	return client, nil
}

// documentGrants are the grants of a document that we know. A client that names none gets what one that registers itself
// gets.
func (c *settings) documentGrants(named []string) []string {
	if len(named) == 0 {
		return []string{GrantCode, GrantRefresh}
	}
	var out []string
	for _, grant := range []string{GrantCode, GrantRefresh, GrantDevice, GrantIDJAG} {
		if slices.Contains(named, grant) && !(grant == GrantDevice && c.noDevices) && !(grant == GrantIDJAG && !c.assertions) {
			out = append(out, grant)
		}
	}
	return out
}

// documentKeys are the keys at the jwks_uri of a document. A key that is not among those we have may be new.
type documentKeys struct {
	server    *Server
	client    identity.ClientID
	uri, host string
	on        account
}

// Key implements jose.KeySource.
func (k *documentKeys) Key(ctx context.Context, kid, alg string) (jose.PublicKey, error) {
	set, err := k.read(ctx, time.Time{})
	if err != nil {
		return jose.PublicKey{}, err
	}
	key, err := set.Key(ctx, kid, alg)
	if jose.ReasonOf(err) != jose.UnknownKey {
		return key, err
	}
	if set, again := k.read(ctx, k.server.Now().Add(-keysTooOld)); again == nil {
		return set.Key(ctx, kid, alg)
	}
	return key, err
}

// Generation implements jose.KeySource. Nothing that was verified with these keys is kept.
func (k *documentKeys) Generation() uint64 { return 0 }

func (k *documentKeys) read(ctx context.Context, since time.Time) (*jose.KeySet, error) {
	query := k.on.query(k.client, k.host)
	query.Since = since
	raw, err := k.server.Documents.KeySet(ctx, k.uri, query)
	if err != nil {
		return nil, &jose.Error{Reason: jose.KeysUnavailable, Detail: "read the client's jwks_uri", Cause: err}
	}
	set, err := jose.ParseKeySet(raw)
	if err != nil {
		return nil, &jose.Error{Reason: jose.KeysUnavailable, Detail: "read the client's jwks_uri", Cause: err}
	}
	return set, nil
}
