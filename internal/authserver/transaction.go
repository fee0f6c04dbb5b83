package authserver

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

// transactionLifetime is how long a person may take to sign in and decide.
const transactionLifetime = 30 * time.Minute

// transaction is a validated authorization request. It travels sealed in the URL of the sign-in and consent pages and
// in the consent form, so that nothing is written for a visitor who has not consented, and so that nothing in it is
// ever checked twice: the redirect URI here is the one that is used (checklist 23).
type transaction struct {
	ID          string            `json:"id"`
	Expires     int64             `json:"exp"`
	Client      identity.ClientID `json:"client"`
	RedirectURI string            `json:"redirect"`
	State       string            `json:"state,omitempty"` // echoed as it came
	Challenge   string            `json:"challenge"`
	DPoPKey     string            `json:"jkt,omitempty"` // thumbprint of the key that alone may redeem the code (RFC 9449 §10)
	Resource    string            `json:"resource,omitempty"`
	Scopes      identity.Scopes   `json:"scopes,omitempty"`
	Nonce       string            `json:"nonce,omitempty"`
	LoginHint   string            `json:"hint,omitempty"`
	NotBefore   int64             `json:"not_before,omitempty"` // the sign-in must be at least this young
	Silent      bool              `json:"silent,omitempty"`     // prompt=none
	Ask         bool              `json:"ask,omitempty"`        // prompt=consent or select_account
	Unchecked   bool              `json:"unchecked,omitempty"`  // the client was pending: nobody knows whose redirect URI this is
	Choose      bool              `json:"choose,omitempty"`     // prompt=select_account
}

// sealTransaction gives the transaction an id and a lifetime, and returns its text form.
func (s *Server) sealTransaction(t *transaction) (string, error) {
	t.ID = rand.Text()
	t.Expires = s.Now().Add(transactionLifetime).Unix()
	return s.resealTransaction(t)
}

// resealTransaction returns the text form of a transaction that goes on, as what it is now.
func (s *Server) resealTransaction(t *transaction) (string, error) {
	plain, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encode authorization transaction: %w", err)
	}
	return s.transactions.SealString(plain, nil), nil
}

// openTransaction reverses sealTransaction.
func (s *Server) openTransaction(sealed string) (*transaction, error) {
	stale := refuse(codeInvalidRequest, "transaction_expired", "this sign-in took too long or its address is damaged; go back to the application and start again")
	plain, err := s.transactions.OpenString(sealed, nil)
	if err != nil {
		return nil, stale
	}
	var t transaction
	if err := json.Unmarshal(plain, &t); err != nil {
		return nil, fmt.Errorf("decode authorization transaction: %w", err)
	}
	if s.Now().Unix() >= t.Expires {
		return nil, stale
	}
	return &t, nil
}

// answer sends the browser back to the client (RFC 6749 §4.1.2). Every answer names the issuer (RFC 9207). Whoever comes
// here with a redirect URI that was not checked has a fault, and goes nowhere.
func (s *Server) answer(w http.ResponseWriter, t *transaction, params url.Values) {
	if t.Unchecked {
		http.Error(w, "the redirect URI was not checked", http.StatusInternalServerError)
		return
	}
	if t.State != "" {
		params.Set("state", t.State)
	}
	params.Set("iss", string(s.Issuer))
	w.Header().Set("Location", withParams(t.RedirectURI, params))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
}

// answerError tells the client what went wrong.
func (s *Server) answerError(w http.ResponseWriter, r *http.Request, t *transaction, e *web.Error) {
	s.logError(r, e)
	web.Note(r.Context(), "error", e.Error())
	web.Note(r.Context(), "reason", cmp.Or(e.Reason, e.Code))
	s.answer(w, t, url.Values{"error": {e.Code}, "error_description": {e.Public()}})
}

// answerUnasked is answerError before the person has seen anything. The site of a client that nobody vouches for gets no
// such answer, or our address would lead anywhere without a question (RFC 9700 §4.11.2); the person reads it instead.
func (s *Server) answerUnasked(w http.ResponseWriter, r *http.Request, t *transaction, client *Client, e *web.Error) error {
	if t.Unchecked || client.registered && strings.HasPrefix(t.RedirectURI, "https://") {
		return e
	}
	s.answerError(w, r, t, e)
	return nil
}
