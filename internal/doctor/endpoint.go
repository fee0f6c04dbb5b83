package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

const (
	acceptBoth    = "application/json, text/event-stream"
	initialize    = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"gatehouse-doctor","version":"0"}}}`
	prmWellKnown  = "/.well-known/oauth-protected-resource"
	asWellKnown   = "/.well-known/oauth-authorization-server"
	oidcWellKnown = "/.well-known/openid-configuration"
)

// endpoint does what a client without a token does at one MCP URL, and then what only breaks once it has one. It returns
// the issuer that the metadata leads to.
func (p *probe) endpoint(ctx context.Context, s *Setup, e Endpoint, r *report) (issuer string) {
	at := s.PublicURL + e.Path
	asked := map[string]string{"Accept": acceptBoth}
	if s.CertHeader != "" {
		asked[s.CertHeader] = noCertificateHeader
	}
	heard := p.question(ctx, s.State.Keys, ask{url: at, header: asked}, s.Hold)
	if e.Open {
		r.skip("challenge", "nobody is asked for a token here")
		r.arrival(heard, s, e)
		p.events(ctx, s, at, heard, r)
		return ""
	}
	door := p.do(ctx, ask{url: at, header: map[string]string{"Accept": acceptBoth}})
	if !r.challenge(door, s, e, heard.seen) {
		return ""
	}
	r.arrival(heard, s, e)
	p.events(ctx, s, at, heard, r)
	p.authorization(ctx, at, e, r)
	p.methods(ctx, at, e, r)
	p.sizes(ctx, s, at, r)
	return p.resourceMetadata(ctx, s, e, r)
}

// challenge looks at the 401 that starts everything (RFC 6750 §3, RFC 9728 §5.1).
func (r *report) challenge(a answer, s *Setup, e Endpoint, seen *Seen) bool {
	if a.err != nil {
		at, err := url.Parse(a.url)
		if err != nil {
			return false
		}
		_, t := way(a.err, at, "public_url")
		r.fail("challenge", t)
		return false
	}
	scheme := map[bool]string{true: "DPoP", false: "Bearer"}[e.DPoP]
	params, challenged := a.challenge(scheme)
	_, ours := a.refusal()
	expected := "401 with a " + scheme + " challenge that names resource_metadata"
	want := s.PublicURL + prmWellKnown + e.Path
	switch {
	case a.status == http.StatusUnauthorized && challenged && params["resource_metadata"] == want:
		r.ok("challenge", "401, metadata at %s", want)
		return true
	case a.status == http.StatusUnauthorized && challenged && params["resource_metadata"] != "":
		r.fail("challenge", trouble{ChallengeElsewhere, "the challenge leads to " + clip(params["resource_metadata"], 160), want,
			"the running Gatehouse has another public_url than this file, or another server answers here: restart it with this file, or correct the proxy"})
	case a.status == http.StatusUnauthorized && ours:
		r.fail("challenge", trouble{ChallengeDropped, "Gatehouse's 401 arrives without its WWW-Authenticate header", expected, "let the proxy pass WWW-Authenticate (nginx: no proxy_hide_header or more_clear_headers for it)"})
	case a.status == http.StatusUnauthorized:
		r.fail("challenge", trouble{ProxySignsIn, "something in front of Gatehouse asks for a sign-in of its own: " + clip(a.header.Get("WWW-Authenticate"), 80), expected,
			"take authentication away from the proxy for this path (auth_basic, oauth2-proxy, an access policy): MCP clients cannot answer it"})
	default:
		r.fail("challenge", notTheDoor(a, s, e, seen))
	}
	return false
}

// notTheDoor says what answers in place of Gatehouse's challenge, and why.
func notTheDoor(a answer, s *Setup, e Endpoint, seen *Seen) trouble {
	said, ours := a.refusal()
	expected := "401 from Gatehouse"
	if seen != nil && seen.Path != e.Path {
		return trouble{PathRewritten, "the request for " + e.Path + " arrives at Gatehouse as " + clip(seen.Path, 80), e.Path,
			"let the proxy pass the path as it is (nginx: proxy_pass without a path or slash behind the address; Traefik: no StripPrefix; Apache: the same path on both sides of ProxyPass)"}
	}
	switch {
	case a.status == http.StatusMisdirectedRequest && ours:
		found := "Gatehouse does not serve the host name that the proxy sends"
		if seen != nil {
			found += ": " + clip(seen.Host, 80)
		}
		return trouble{HostRewritten, found, hostOf(s.PublicURL), "let the proxy pass the Host header (nginx: proxy_set_header Host $host; Apache: ProxyPreserveHost On), or correct public_url"}
	case a.status == http.StatusForbidden && said.Error == "proxy_required":
		found := "Gatehouse does not know the proxy that the request comes from"
		fix := "add the proxy's address to trusted_proxies"
		if seen != nil {
			found += ": " + clip(seen.Peer, 60)
			fix = "add " + clip(seen.Peer, 60) + " to trusted_proxies, if that is the proxy"
		}
		return trouble{ProxyUnknown, found, expected, fix}
	case a.status/100 == 3:
		return redirected(a, e)
	case a.notFoundHere():
		return trouble{EndpointUnknown, "Gatehouse says that there is nothing at " + e.Path, expected, "the running Gatehouse does not have this endpoint: has this file been loaded? (see its log) Or the proxy leads to another installation"}
	case a.status == http.StatusNotFound:
		return trouble{PathNotForwarded, "404 from something in front of Gatehouse", expected, "let the proxy send " + e.Path + " to Gatehouse, and /.well-known/ too"}
	case a.status == http.StatusForbidden && !ours:
		return trouble{ForbiddenInFront, "403 from something in front of Gatehouse: " + a.looks(), expected, "look at the firewall, WAF or access list in front of Gatehouse"}
	case a.status == http.StatusMethodNotAllowed && !ours:
		return trouble{MethodFiltered, "405 from something in front of Gatehouse", expected, "let the proxy pass GET, POST, DELETE and OPTIONS"}
	case (a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout) && !ours:
		return trouble{ProxyCannotReach, "the proxy cannot reach Gatehouse: " + a.looks(), expected, "compare the address in the proxy with listen (" + s.Listen + "), and look at the proxy's error log; nginx also says 502 for https where http is spoken"}
	case a.status == http.StatusTooManyRequests:
		return trouble{RateLimited, a.looks(), expected, "raise the rate limit in front of Gatehouse"}
	case a.status == http.StatusServiceUnavailable:
		return trouble{PartNotReady, a.looks(), expected, "see the log for request " + clip(said.RequestID, 40)}
	}
	return trouble{NotGatehouse, "something else answers: " + a.looks(), expected, "correct public_url, or let the proxy send " + e.Path + " to Gatehouse"}
}

// redirected tells redirects apart: clients follow none of them for a POST.
func redirected(a answer, e Endpoint) trouble {
	to := clip(a.header.Get("Location"), 160)
	at, errAt := url.Parse(a.url)
	u, err := url.Parse(a.header.Get("Location"))
	t := trouble{Redirected, "a redirect to " + to, "401 from Gatehouse", "let the proxy serve " + e.Path + " without a redirect"}
	if err != nil || errAt != nil {
		return t
	}
	u = at.ResolveReference(u)
	switch {
	case u.Host == at.Host && u.Scheme != at.Scheme:
		t.code, t.fix = RedirectScheme, "write "+u.Scheme+":// in public_url; where the proxy redirects https to http, it does not know that TLS ended in front of it"
	case u.Host == at.Host && strings.TrimSuffix(u.Path, "/") == strings.TrimSuffix(at.Path, "/"):
		t.code, t.fix = RedirectSlash, "turn off the proxy's redirect that adds or removes a slash (nginx: location "+e.Path+" without a slash at its end)"
	case u.Host != at.Host && strings.TrimPrefix(u.Hostname(), "www.") == strings.TrimPrefix(at.Hostname(), "www."):
		t.code, t.fix = RedirectHost, "write the name to which it redirects in public_url, or take the redirect away"
	case u.Host != at.Host || strings.Contains(strings.ToLower(u.Path), "login") || strings.Contains(strings.ToLower(u.Path), "auth"):
		t.code, t.fix = ProxySignsIn, "take the sign-in in front of Gatehouse away for this path (an access proxy such as oauth2-proxy, Cloudflare Access, IAP): MCP clients cannot follow it"
	}
	return t
}

func hostOf(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return origin
	}
	return u.Host
}

// arrival compares how the question arrived with how it was sent.
func (r *report) arrival(h heard, s *Setup, e Endpoint) {
	if s.State.Keys == nil {
		r.skip("arrival", "the master key is not known here, so that Gatehouse cannot be asked")
		return
	}
	if h.seen == nil {
		r.warn("arrival", trouble{DoctorUnanswered, "Gatehouse does not answer the doctor's question: " + h.looks(), "an answer sealed with the master key of this configuration",
			"another installation answers, or one with another master_key; or a proxy removes the header " + questionHeader + "; or the clocks are more than " + questionLife.String() + " apart"})
		return
	}
	if h.seen.Path != e.Path {
		r.fail("arrival", notTheDoor(h.answer, s, e, h.seen))
		return
	}
	if s.Config != "" && h.seen.Config != s.Config {
		r.warn("arrival", trouble{ConfigNotLoaded, "the running Gatehouse has another configuration than this file", "this file in force",
			"look for “configuration not reloaded” in its log; if it was started with another file, give that one with -c"})
	} else {
		r.ok("arrival", "as sent, host %s, from %s, version %s", clip(h.seen.Host, 60), clip(h.seen.Client, 45), clip(h.seen.Version, 30))
	}
	r.certificateHeader(h.seen, s)
	if s.BehindProxy && !h.seen.Forwarded {
		r.warn("client address", trouble{ForwardedForMissing, "every request seems to come from the proxy, " + clip(h.seen.Peer, 45), "the client's own address in X-Forwarded-For",
			"let the proxy set X-Forwarded-For (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for): else one busy client uses up the limits of all, and records name the proxy"})
	}
}

// certificateHeader sees whether the proxy hands on what a client claims about its certificate: then everybody has every one.
func (r *report) certificateHeader(seen *Seen, s *Setup) {
	const expected = "a header that the proxy removes from what clients send"
	switch said := clip(seen.Certificate, 160); {
	case s.CertHeader == "":
	case said == believed:
		r.fail("client certificate", trouble{CertificateForgeable, "a client can write " + s.CertHeader + " itself, and is believed", expected,
			"have the proxy set the header on every request, or remove it (nginx: proxy_set_header " + s.CertHeader + " $ssl_client_escaped_cert)"})
	case said != "":
		r.fail("client certificate", trouble{CertificateHeader, said, expected + ", and writes in a form that is known",
			"have the proxy set " + s.CertHeader + " once, as in RFC 9440 or as PEM with percent-encoding (nginx: $ssl_client_escaped_cert)"})
	default:
		r.ok("client certificate", "what a client writes in %s does not arrive", s.CertHeader)
	}
}

// events looks at what becomes of a stream on its way.
func (p *probe) events(ctx context.Context, s *Setup, at string, h heard, r *report) {
	if h.seen == nil {
		r.skip("events", "Gatehouse was not asked for a stream")
		return
	}
	if h.held {
		r.fail("events", trouble{EventsBuffered, "the first event of a stream comes only when the stream ends", "each event as it is sent",
			"turn off buffering in the proxy for this path (nginx: proxy_buffering off; Apache: flushpackets=on; Cloudflare and others: no response buffering), and raise its read timeout to an hour"})
	} else if t := h.mediaType(); t != "text/event-stream" {
		r.fail("events", trouble{EventsChanged, "a stream arrives as " + clip(t, 60), "text/event-stream", "let the proxy pass Content-Type as it is"})
	} else {
		r.ok("events", "arrive as they are sent")
	}
	zipped := p.question(ctx, s.State.Keys, ask{url: at, header: map[string]string{"Accept": acceptBoth, "Accept-Encoding": "gzip, deflate, br"}}, 0)
	if zipped.compressed != "" {
		r.warn("compression", trouble{EventsCompressed, "the proxy compresses streams (" + clip(zipped.compressed, 20) + ")", "streams as they are",
			"leave text/event-stream out of what the proxy compresses (nginx: gzip_types; Apache: DEFLATE filter): events wait in the compressor"})
	}
}

// authorization sees whether a token gets through: a made-up one must be refused as one.
func (p *probe) authorization(ctx context.Context, at string, e Endpoint, r *report) {
	const made = "gatehouse-doctor-made-this-up"
	a := p.do(ctx, post(at, initialize, "Bearer "+made))
	said, ours := a.refusal()
	switch reason := said.reason(); {
	case a.err != nil:
		r.fail("token", trouble{ConnectionBroken, cause(a.err), "401 for a made-up token", "look at the log of whatever is in front of Gatehouse"})
	case ours && reason == "token_missing":
		r.fail("token", trouble{AuthorizationDropped, "the Authorization header does not reach Gatehouse", "401 for a made-up token, not for a missing one",
			"let the proxy pass Authorization (Apache: no AuthType for this path, CGIPassAuth or RequestHeader; AWS load balancers and API gateways: forward the header; nginx: no proxy_set_header Authorization)"})
	case ours && (reason == "scheme_unsupported" && !e.DPoP || reason == "header_repeated"):
		r.fail("token", trouble{AuthorizationReplaced, "the proxy puts credentials of its own in place of the token: " + reason, "the client's own Authorization header",
			"take the credential that the proxy adds away for this path"})
	case ours && a.status == http.StatusUnauthorized:
		r.ok("token", "a made-up token is refused as one: %s", reason)
	case ours && a.status == http.StatusServiceUnavailable:
		r.fail("token", trouble{PartNotReady, a.looks(), "401 for a made-up token", "the log has the cause under request " + clip(said.RequestID, 40)})
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		r.fail("token", trouble{TokenCheckedInFront, "something in front of Gatehouse refuses the token: " + a.looks(), "401 from Gatehouse", "take the token check away from the proxy for this path (an API gateway's JWT authorizer, a WAF rule)"})
	default:
		r.fail("token", trouble{PostNotForwarded, "a POST is not answered by Gatehouse: " + a.looks(), "401 from Gatehouse", "let the proxy pass POST with its body to Gatehouse"})
	}
}

func post(at, body, authorization string) ask {
	return ask{method: http.MethodPost, url: at, body: body, header: map[string]string{
		"Accept": acceptBoth, "Content-Type": "application/json", "Authorization": authorization,
	}}
}

// methods sees whether the other methods of MCP get through, and a browser's preflight.
func (p *probe) methods(ctx context.Context, at string, e Endpoint, r *report) {
	var filtered []string
	var last answer
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		a := p.do(ctx, ask{method: method, url: at, header: map[string]string{"Accept": acceptBoth}})
		if _, ours := a.refusal(); a.err != nil || !ours {
			filtered, last = append(filtered, method), a
		}
	}
	if len(filtered) > 0 {
		r.warn("methods", trouble{MethodFiltered, strings.Join(filtered, " and ") + " do not reach Gatehouse: " + last.looks(), "GET, POST and DELETE",
			"let the proxy and the WAF pass them: GET opens streams, DELETE ends sessions"})
	} else {
		r.ok("methods", "GET, POST and DELETE get through")
	}
	if e.Origin == "" {
		return
	}
	a := p.do(ctx, ask{method: http.MethodOptions, url: at, header: map[string]string{
		"Origin": e.Origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,mcp-protocol-version",
	}})
	if allowed := a.header.Get("Access-Control-Allow-Origin"); a.err != nil || a.status/100 != 2 || allowed != e.Origin {
		r.fail("preflight", trouble{PreflightBlocked, "a browser at " + e.Origin + " may not call: " + a.looks(), "a preflight answered with Access-Control-Allow-Origin: " + e.Origin,
			"let the proxy pass OPTIONS to Gatehouse, and set no CORS headers itself"})
		return
	}
	r.ok("preflight", "browsers at %s may call", e.Origin)
}

// What real traffic grows to: tokens with many groups, arguments with a file in them.
const (
	bigToken = 12 << 10
	bigBody  = 2 << 20
)

// sizes sees whether large tokens and large calls get through.
func (p *probe) sizes(ctx context.Context, s *Setup, at string, r *report) {
	a := p.do(ctx, post(at, initialize, "Bearer "+strings.Repeat("x", bigToken)))
	if _, ours := a.refusal(); a.err == nil && ours {
		r.ok("long token", "%d KiB get through", bigToken>>10)
	} else {
		r.warn("long token", trouble{HeaderLimit, "a token of 12 KiB does not reach Gatehouse: " + p.outcome(a), "401 from Gatehouse",
			"raise the limit on headers (nginx: large_client_header_buffers 4 32k; HAProxy: tune.bufsize; AWS ALB allows 16 KiB a header): tokens with many groups are that long"})
	}
	size := min(s.BodyLimit-1024, bigBody)
	if size <= 0 {
		return
	}
	// Who expects 100 sends nothing before whoever is in front has looked at the length. Else an early answer would get
	// lost when the connection is closed on the rest of the body.
	q := post(at, `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"pad":"`+strings.Repeat("x", int(size))+`"}}`, "Bearer x")
	q.header["Expect"] = "100-continue"
	a = p.do(ctx, q)
	if _, ours := a.refusal(); a.err == nil && ours && a.status != http.StatusRequestEntityTooLarge {
		r.ok("long call", "%d KiB get through", size>>10)
		return
	}
	r.warn("long call", trouble{BodyLimit, "a call of " + itoa(size>>10) + " KiB does not reach Gatehouse: " + p.outcome(a), "401 from Gatehouse",
		"raise the limit on bodies in front of Gatehouse (nginx: client_max_body_size), up to limits.body"})
}

func (p *probe) outcome(a answer) string {
	if a.err != nil {
		return cause(a.err)
	}
	return a.looks()
}
