package portal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/page"
	"gatehouse/internal/signin"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// recent is how long ago a person may have signed in to add or remove a passkey without signing in again.
const recent = 10 * time.Minute

// accountPage is the data of the "account" page.
type accountPage struct {
	Administrator bool
	Person        identity.Person
	Provider      string // the identity provider that vouches for the person, who then has neither password nor passkeys here
	Token         string
	Done          string // what has just been done
	Clients       []client
	Passkeys      []passkey
	Recent        bool                 // the person signed in a moment ago
	Offer         *signin.PasskeyOffer // nil when no passkey can be added now
	Error         string               // why the last form did not work, and
	ErrorIn       string               // in which section
}

// client is one client that the person allowed in.
type client struct {
	Grant    identity.GrantID
	Name     string
	Host     string // of the URL that is the client's id; its name is its own choice
	Resource string
	Scopes   identity.Scopes
	Since    time.Time
	LastUsed time.Time
}

type passkey struct {
	ID       string
	Name     string
	Added    time.Time
	LastUsed time.Time
}

// The notes that an action leaves for the page it redirects to, by the word in the address.
var notes = map[string]string{
	"disconnected": "The client is disconnected. It can no longer act for you.",
	"all":          "All clients are disconnected. None of them can act for you any longer.",
	"added":        "The passkey was added. You can sign in with it from now on.",
	"removed":      "The passkey was removed.",
	"password":     "Your password was changed. Everything that was signed in with the old one has been signed out.",
}

func (p *Portal) showAccount(w http.ResponseWriter, r *http.Request) error {
	signedIn, ok := p.SignIn.Current(r)
	if !ok {
		p.SignIn.Start(w, r, identity.SignInStart{ReturnTo: AccountPath})
		return nil
	}
	return p.render(w, r, signedIn, http.StatusOK, accountPage{Done: notes[r.URL.Query().Get("done")]})
}

// render fills in what the page shows besides the outcome of a form.
func (p *Portal) render(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn, status int, a accountPage) error {
	ctx := r.Context()
	grants, err := p.Store.Grants(ctx, signedIn.Person.Key)
	if err != nil {
		return fmt.Errorf("show account: %w", err)
	}
	a.Administrator = p.isAdministrator(signedIn.Person)
	a.Person, a.Provider, a.Token = signedIn.Person, signedIn.ProviderLabel, p.SignIn.FormToken(signedIn)
	for _, g := range grants {
		a.Clients = append(a.Clients, clientOf(g))
	}
	if a.Provider != "" {
		return page.Render(w, r, status, "account", a)
	}
	passkeys, err := p.SignIn.Passkeys(ctx, signedIn)
	if err != nil {
		return fmt.Errorf("show account: %w", err)
	}
	a.Recent = p.isRecent(signedIn)
	for _, k := range passkeys {
		a.Passkeys = append(a.Passkeys, passkey{base64.RawURLEncoding.EncodeToString(k.CredentialID), k.Name, k.CreatedAt, k.LastUsed})
	}
	if a.Offer, err = p.SignIn.OfferPasskey(ctx, signedIn); err != nil {
		return fmt.Errorf("show account: %w", err)
	}
	return page.Render(w, r, status, "account", a)
}

func clientOf(g store.Grant) client {
	name := g.ClientName
	if name == "" {
		name = string(g.Client)
	}
	host := ""
	if rest, ok := strings.CutPrefix(string(g.Client), "https://"); ok {
		host, _, _ = strings.Cut(rest, "/")
	}
	return client{g.ID, name, host, g.Resource, g.Scopes, g.CreatedAt, g.LastUsed}
}

func (p *Portal) isRecent(signedIn *identity.SignedIn) bool {
	return p.Now().Sub(signedIn.AuthTime) < recent
}

// done sends the browser back to the page, so that a reload repeats nothing.
func done(w http.ResponseWriter, r *http.Request, note string) error {
	http.Redirect(w, r, AccountPath+"?done="+note, http.StatusSeeOther)
	return nil
}

// disconnect revokes one grant, which must be the person's own.
func (p *Portal) disconnect(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	ctx, id := r.Context(), identity.GrantID(r.PostForm.Get("grant"))
	grant, err := p.Store.GrantByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && grant.Person != signedIn.Person.Key {
		return done(w, r, "disconnected") // gone already, or nobody's business
	}
	if err == nil {
		err = p.Store.RevokeGrant(ctx, id, "disconnected by the person")
	}
	if err != nil {
		return fmt.Errorf("disconnect client: %w", err)
	}
	if err := p.Audit.Record(ctx, audit.Event{
		Time: p.Now(), Kind: audit.KindRevoke, RequestID: web.RequestID(ctx), Person: signedIn.Person.Key,
		Client: grant.Client, Grant: id, Reason: "disconnected by the person",
	}); err != nil {
		web.Note(ctx, "audit_error", err.Error()) // what is revoked stays revoked
	}
	return done(w, r, "disconnected")
}

// disconnectAll revokes every grant of the person. They stay signed in.
func (p *Portal) disconnectAll(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	const reason = "all disconnected by the person"
	ctx := r.Context()
	if _, err := p.Store.RevokeGrantsOf(ctx, signedIn.Person.Key, reason); err != nil {
		return fmt.Errorf("disconnect all clients: %w", err)
	}
	if err := p.Audit.Record(ctx, audit.Event{
		Time: p.Now(), Kind: audit.KindRevoke, RequestID: web.RequestID(ctx), Person: signedIn.Person.Key, Reason: reason,
	}); err != nil {
		web.Note(ctx, "audit_error", err.Error()) // what is revoked stays revoked
	}
	return done(w, r, "all")
}

// confirm has the person sign in again, after which passkeys can be changed.
func (p *Portal) confirm(w http.ResponseWriter, r *http.Request, _ *identity.SignedIn) error {
	p.SignIn.Start(w, r, identity.SignInStart{ReturnTo: AccountPath, Reauthenticate: true})
	return nil
}

func (p *Portal) addPasskey(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	if !p.isRecent(signedIn) {
		return p.confirm(w, r, signedIn)
	}
	err := p.SignIn.AddPasskey(r, signedIn, r.PostForm.Get("ceremony"), r.PostForm.Get("response"), r.PostForm.Get("name"))
	var refused *signin.PasskeyRefused
	if errors.As(err, &refused) {
		p.Log.InfoContext(r.Context(), "passkey not added", "error", refused)
		return p.render(w, r, signedIn, http.StatusUnprocessableEntity, accountPage{
			ErrorIn: "passkeys", Error: "That passkey could not be added. Please try again.",
		})
	}
	if err != nil {
		return err
	}
	return done(w, r, "added")
}

func (p *Portal) removePasskey(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	if !p.isRecent(signedIn) {
		return p.confirm(w, r, signedIn)
	}
	id, err := base64.RawURLEncoding.DecodeString(r.PostForm.Get("passkey"))
	if err != nil {
		return done(w, r, "removed") // there is no such passkey
	}
	if err := p.SignIn.RemovePasskey(r, signedIn, id); err != nil {
		return err
	}
	return done(w, r, "removed")
}

func (p *Portal) changePassword(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	chosen := r.PostForm.Get("new_password")
	if chosen != r.PostForm.Get("repeat_password") {
		return p.passwordRefused(w, r, signedIn, http.StatusUnprocessableEntity, "The two new passwords differ. Type the new one twice.")
	}
	err := p.SignIn.ChangePassword(w, r, signedIn, r.PostForm.Get("password"), chosen)
	var weak *signin.WeakPassword
	var slow *signin.SlowDown
	switch {
	case err == nil:
		return done(w, r, "password")
	case errors.As(err, &weak):
		return p.passwordRefused(w, r, signedIn, http.StatusUnprocessableEntity, weak.Reason)
	case errors.As(err, &slow):
		w.Header().Set("Retry-After", strconv.Itoa(slow.Seconds()))
		return p.passwordRefused(w, r, signedIn, http.StatusTooManyRequests, slow.Error())
	case errors.Is(err, signin.ErrWrong):
		return p.passwordRefused(w, r, signedIn, http.StatusForbidden, "The current password is wrong.")
	}
	return err
}

func (p *Portal) passwordRefused(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn, status int, why string) error {
	return p.render(w, r, signedIn, status, accountPage{ErrorIn: "password", Error: why})
}

func (p *Portal) signOut(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	elsewhere, err := p.SignIn.End(w, r)
	return p.signedOut(w, r, signedIn, elsewhere, err)
}

func (p *Portal) signOutEverywhere(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
	elsewhere, err := p.SignIn.SignOutEverywhere(w, r, signedIn)
	return p.signedOut(w, r, signedIn, elsewhere, err)
}

// signedOut goes to the home page, unless there is something to say about the identity provider.
func (p *Portal) signedOut(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn, elsewhere string, err error) error {
	switch {
	case err != nil:
		return err
	case signedIn.ProviderLabel != "":
		return page.Render(w, r, http.StatusOK, "message", page.SignedOut(signedIn.ProviderLabel, elsewhere))
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}
