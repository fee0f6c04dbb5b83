package authn

import (
	"errors"
	"net/http"
	"strings"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

// WriteRefusal answers a request that Authenticate, or a check for scopes after it, refused. An error that is no
// *Refusal is an internal error.
func WriteRefusal(w http.ResponseWriter, r *http.Request, e *Endpoint, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		web.Note(r.Context(), "error", err.Error())
		web.WriteError(w, r, web.AsError(err))
		return
	}
	body := &web.Error{Status: refusal.Status, Code: refusal.Code, Reason: string(refusal.Reason), Message: refusal.Description, RetryAfter: refusal.RetryAfter}
	if body.Code == "" {
		body.Code = "unauthorized"
	}
	if refusal.Status != http.StatusServiceUnavailable && refusal.Reason != NotLocal {
		w.Header()["Www-Authenticate"] = []string{challenge(e, refusal, refusal.dpop || e.DPoPRequired || isDPoP(r))}
	}
	if refusal.nonce != "" {
		w.Header().Set(dpop.NonceHeader, refusal.nonce)
	}
	web.WriteError(w, r, body)
}

// message is the description followed by the stable reason, for people who look for it in a log or a manual.
func (r *Refusal) message() string { return r.Description + " (" + string(r.Reason) + ")" }

// isDPoP reports whether the client tried DPoP.
func isDPoP(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, schemeDPoP)
}

// challenge is one challenge, Bearer or DPoP (RFC 6750 §3, RFC 9449 §7.1, RFC 9728 §5.1). Clients read it with regular
// expressions: every value is quoted, none contains anything that would need an escape, and there is never a second one.
func challenge(e *Endpoint, refusal *Refusal, asDPoP bool) string {
	scopes := refusal.Scopes
	if refusal.Reason != InsufficientScope {
		scopes = e.scopes()
	}
	var b strings.Builder
	b.Grow(512)
	if asDPoP {
		b.WriteString(`DPoP algs="` + strings.Join(dpop.Algorithms(), " ") + `", resource_metadata="`)
	} else {
		b.WriteString(`Bearer resource_metadata="`)
	}
	quotable(&b, e.MetadataURL())
	b.WriteByte('"')
	if list := validScopes(scopes).String(); list != "" {
		b.WriteString(`, scope="` + list + `"`)
	}
	if refusal.Code != "" {
		b.WriteString(`, error="`)
		quotable(&b, refusal.Code)
		b.WriteString(`", error_description="`)
		quotable(&b, refusal.message())
		b.WriteByte('"')
	}
	return b.String()
}

// quotable writes s without the characters that RFC 6750 §3 forbids in its values.
func quotable(b *strings.Builder, s string) {
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			c = '?'
		}
		b.WriteByte(c)
	}
}

// validScopes leaves out what cannot stand in a challenge, and offline_access, which is a matter between client and
// authorization server (SEP-2207).
func validScopes(scopes identity.Scopes) identity.Scopes {
	var out identity.Scopes
	for _, s := range scopes {
		if identity.ValidScope(s) && s != "offline_access" {
			out = append(out, s)
		}
	}
	return out
}
