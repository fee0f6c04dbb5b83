package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// ceremonyLifetime is how long a page that offers a passkey can be used for one.
const ceremonyLifetime = 15 * time.Minute

// maxPasskeys bounds how many passkeys one person may add.
const maxPasskeys = 20

var errPasskey = errors.New("the passkey was not accepted")

// newPasskeys sets up WebAuthn (level 3): the relying party is the public host, the origin exactly the public URL's.
// A passkey stands in for username and password together, so it must be discoverable and verify the person.
func newPasskeys(host, origin string) (*webauthn.WebAuthn, error) {
	return webauthn.New(&webauthn.Config{
		RPID:                  host,
		RPDisplayName:         "Gatehouse",
		RPOrigins:             []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey:        protocol.ResidentKeyRequirementRequired,
			RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification:   protocol.VerificationRequired,
		},
		// Password managers add outputs nobody asked for; none is ever read here.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
}

// passkeyForm is what a page needs to run a ceremony: the script hands Options to the browser and posts the answer
// together with Ceremony.
type passkeyForm struct {
	Options  string // JSON, as navigator.credentials takes it
	Ceremony string // sealed
}

// ceremony is what has to be remembered between the two halves. It travels sealed in the form, bound to the browser
// or to the person, and works once.
type ceremony struct {
	Session webauthn.SessionData
	Expires time.Time
}

func (s *Service) sealCeremony(options any, session *webauthn.SessionData, bound string) (*passkeyForm, error) {
	plain, err := json.Marshal(ceremony{Session: *session, Expires: s.Now().Add(ceremonyLifetime)})
	if err != nil {
		return nil, fmt.Errorf("keep passkey ceremony: %w", err)
	}
	shown, err := json.Marshal(options)
	if err != nil {
		return nil, fmt.Errorf("write passkey options: %w", err)
	}
	return &passkeyForm{Options: string(shown), Ceremony: s.ceremony.SealString(plain, []byte(bound))}, nil
}

// openCeremony opens what sealCeremony made, once.
func (s *Service) openCeremony(ctx context.Context, sealed, bound string) (webauthn.SessionData, error) {
	plain, err := s.ceremony.OpenString(sealed, []byte(bound))
	if err != nil {
		return webauthn.SessionData{}, fmt.Errorf("%w: %w", errPasskey, err)
	}
	var c ceremony
	if err := json.Unmarshal(plain, &c); err != nil {
		return webauthn.SessionData{}, fmt.Errorf("%w: read ceremony: %w", errPasskey, err)
	}
	if s.Now().After(c.Expires) {
		return webauthn.SessionData{}, fmt.Errorf("%w: the ceremony is over", errPasskey)
	}
	first, err := s.Store.UseOnce(ctx, "passkey ceremony", c.Session.Challenge, c.Expires)
	if err != nil {
		return webauthn.SessionData{}, fmt.Errorf("note passkey challenge as used: %w", err)
	}
	if !first {
		return webauthn.SessionData{}, fmt.Errorf("%w: the ceremony was used before", errPasskey)
	}
	return c.Session, nil
}

// beginPasskeySignIn offers a sign-in with whichever passkey the browser has for this site, without a username.
func (s *Service) beginPasskeySignIn(browser []byte) (*passkeyForm, error) {
	if s.passkeys == nil {
		return nil, nil
	}
	options, session, err := s.passkeys.BeginDiscoverableLogin()
	if err != nil {
		return nil, fmt.Errorf("begin passkey sign-in: %w", err)
	}
	return s.sealCeremony(options, session, boundToBrowser(browser))
}

func boundToBrowser(browser []byte) string {
	return "sign in " + base64.RawURLEncoding.EncodeToString(tokenHash(browser))
}

// postPasskey is a sign-in with a passkey.
func (s *Service) postPasskey(w http.ResponseWriter, r *http.Request) error {
	browser, formErr := s.checkBrowserForm(w, r)
	flow := s.openFlow(r.PostForm.Get(flowField))
	if formErr != nil {
		return s.render(w, r, http.StatusForbidden, flow, form{Error: expiredText})
	}
	user, methods, err := s.checkPasskey(r, boundToBrowser(browser))
	if err != nil {
		return s.renderRefusal(w, r, flow, form{}, err)
	}
	return s.finish(w, r, flow, user, methods)
}

func (s *Service) checkPasskey(r *http.Request, bound string) (store.User, []string, error) {
	if s.passkeys == nil {
		return store.User{}, nil, fmt.Errorf("%w: passkeys are off", errPasskey)
	}
	success, wait := s.throttle.take(s.Now(), "passkey", s.ClientIP(r))
	if wait > 0 {
		s.recordSlowed(r, "passkey")
		return store.User{}, nil, &SlowDown{wait}
	}
	user, methods, err := s.checkAnswer(r, bound)
	if err != nil {
		s.record(r, refused("passkey", "passkey_refused"))
		return store.User{}, nil, err
	}
	success()
	return user, methods, nil
}

// checkAnswer checks what the browser sent at the end of a ceremony.
func (s *Service) checkAnswer(r *http.Request, bound string) (store.User, []string, error) {
	ctx := r.Context()
	session, err := s.openCeremony(ctx, r.PostForm.Get("ceremony"), bound)
	if err != nil {
		return store.User{}, nil, err
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes([]byte(r.PostForm.Get("response")))
	if err != nil {
		return store.User{}, nil, fmt.Errorf("%w: %w", errPasskey, err)
	}
	owner, credential, err := s.passkeys.ValidatePasskeyLogin(s.passkeyOwner(ctx), session, answer)
	if err != nil {
		return store.User{}, nil, fmt.Errorf("%w: %w", errPasskey, err)
	}
	if credential.Authenticator.CloneWarning {
		s.Log.WarnContext(ctx, "passkey refused: its counter went back, so there may be a copy", "user", string(owner.WebAuthnID()))
		return store.User{}, nil, fmt.Errorf("%w: its counter went back", errPasskey)
	}
	data, err := json.Marshal(credential)
	if err != nil {
		return store.User{}, nil, fmt.Errorf("write passkey: %w", err)
	}
	if err := s.Store.UpdatePasskey(ctx, credential.ID, data, s.Now()); err != nil {
		return store.User{}, nil, fmt.Errorf("note that a passkey was used: %w", err)
	}
	return owner.(*holder).user, methodsOf(credential), nil
}

// methodsOf names the kind of key and that it verified the person, in the words of RFC 8176 §2.
func methodsOf(c *webauthn.Credential) []string {
	key := "hwk"
	if c.Flags.BackupEligible {
		key = "swk" // may be copied between the person's devices
	}
	return []string{key, "user", "mfa"}
}

// holder shows a user to the WebAuthn library.
type holder struct {
	user        store.User
	credentials []webauthn.Credential
}

func (h *holder) WebAuthnID() []byte                         { return []byte(h.user.ID) }
func (h *holder) WebAuthnName() string                       { return h.user.Username }
func (h *holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }
func (h *holder) WebAuthnDisplayName() string {
	if h.user.Name != "" {
		return h.user.Name
	}
	return h.user.Username
}

// passkeyOwner finds the user whom a passkey names. A disabled one has no passkeys.
func (s *Service) passkeyOwner(ctx context.Context) webauthn.DiscoverableUserHandler {
	return func(_, userHandle []byte) (webauthn.User, error) {
		h, err := s.holder(ctx, string(userHandle))
		if err != nil {
			return nil, err
		}
		return h, nil
	}
}

func (s *Service) holder(ctx context.Context, userID string) (*holder, error) {
	user, err := s.Store.UserByID(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("look up the owner of a passkey: %w", err)
	}
	if user.Disabled {
		return nil, identity.ErrGone
	}
	stored, err := s.Store.Passkeys(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("read passkeys: %w", err)
	}
	h := &holder{user: user}
	for _, p := range stored {
		var c webauthn.Credential
		if err := json.Unmarshal(p.Data, &c); err != nil {
			return nil, fmt.Errorf("read passkey %q: %w", p.Name, err)
		}
		h.credentials = append(h.credentials, c)
	}
	return h, nil
}

// PasskeyOffer is what the account page needs to let a person add a passkey.
type PasskeyOffer struct{ Options, Ceremony string }

// OfferPasskey begins adding a passkey; nil where browsers offer none, or when the person has plenty.
func (s *Service) OfferPasskey(ctx context.Context, signedIn *identity.SignedIn) (*PasskeyOffer, error) {
	if s.passkeys == nil {
		return nil, nil
	}
	h, err := s.holder(ctx, signedIn.Person.Key.Subject)
	if err != nil {
		return nil, err
	}
	if len(h.credentials) >= maxPasskeys {
		return nil, nil
	}
	exclude := make([]protocol.CredentialDescriptor, len(h.credentials))
	for i, c := range h.credentials {
		exclude[i] = c.Descriptor()
	}
	options, session, err := s.passkeys.BeginRegistration(h, webauthn.WithExclusions(exclude))
	if err != nil {
		return nil, fmt.Errorf("begin adding a passkey: %w", err)
	}
	f, err := s.sealCeremony(options, session, boundToSession(signedIn))
	if err != nil {
		return nil, err
	}
	return &PasskeyOffer{Options: f.Options, Ceremony: f.Ceremony}, nil
}

func boundToSession(signedIn *identity.SignedIn) string { return "add passkey " + signedIn.SessionID }

// PasskeyRefused means that the browser's answer was not a passkey that can be kept.
type PasskeyRefused struct{ Cause error }

func (e *PasskeyRefused) Error() string { return "add passkey: " + e.Cause.Error() }
func (e *PasskeyRefused) Unwrap() error { return e.Cause }

// AddPasskey keeps the passkey that the browser made in answer to an offer.
func (s *Service) AddPasskey(r *http.Request, signedIn *identity.SignedIn, ceremony, response, name string) error {
	ctx := r.Context()
	if s.passkeys == nil {
		return &PasskeyRefused{errPasskey}
	}
	if err := s.Audit.Ready(r.Context()); err != nil {
		return unavailable(err)
	}
	session, err := s.openCeremony(ctx, ceremony, boundToSession(signedIn))
	if errors.Is(err, errPasskey) {
		return &PasskeyRefused{err}
	}
	if err != nil {
		return err
	}
	h, err := s.holder(ctx, signedIn.Person.Key.Subject)
	if err != nil {
		return err
	}
	answer, err := protocol.ParseCredentialCreationResponseBytes([]byte(response))
	if err != nil {
		return &PasskeyRefused{err}
	}
	credential, err := s.passkeys.CreateCredential(h, session, answer)
	if err != nil {
		return &PasskeyRefused{err}
	}
	data, err := json.Marshal(credential)
	if err != nil {
		return fmt.Errorf("write passkey: %w", err)
	}
	err = s.Store.AddPasskey(ctx, store.Passkey{
		CredentialID: credential.ID,
		UserID:       h.user.ID,
		Name:         passkeyName(name, s.Now()),
		Data:         data,
		CreatedAt:    s.Now(),
	})
	if errors.Is(err, store.ErrExists) {
		return &PasskeyRefused{err}
	}
	if err != nil {
		return fmt.Errorf("keep passkey: %w", err)
	}
	s.record(r, audit.Event{Kind: audit.KindPasskeyAdded, Person: signedIn.Person.Key})
	return nil
}

func passkeyName(name string, now time.Time) string {
	if name = truncate(strings.Join(strings.Fields(name), " "), 60); name == "" {
		return "Passkey of " + now.UTC().Format("2 January 2006")
	}
	return name
}
