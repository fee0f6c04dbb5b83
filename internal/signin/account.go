package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// ChangePassword replaces the password of the person who is signed in, who has to know the old one. Everything that
// was signed in or connected with the old password ends; this browser stays, in a new session.
// The error is ErrWrong, *SlowDown or *WeakPassword when the person can do something about it.
func (s *Service) ChangePassword(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn, old, chosen string) error {
	user, err := s.checkCredentials(r, signedIn.Person.Username, old)
	if err != nil {
		return err
	}
	if user.ID != signedIn.Person.Key.Subject {
		return ErrWrong // renamed and replaced in between
	}
	if old == chosen {
		return &WeakPassword{"The new password is the old one. Choose another."}
	}
	if err := checkPassword(chosen, user.Username); err != nil {
		return err
	}
	hash, err := s.hasher.hash(r.Context(), chosen)
	if err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	if err := s.Store.SetPasswordHash(r.Context(), user.ID, hash); err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	s.record(r, audit.Event{Kind: audit.KindPasswordChanged, Person: signedIn.Person.Key})
	if user, err = s.Store.UserByID(r.Context(), user.ID); err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	return s.begin(w, r, user, []string{"pwd"})
}

// SignOutEverywhere ends every browser session of the person and disconnects every client. It returns what End returns.
func (s *Service) SignOutEverywhere(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) (elsewhere string, err error) {
	key := signedIn.Person.Key
	elsewhere = s.signOutElsewhere(r, signedIn)
	if err := s.Store.RevokePerson(r.Context(), key, "signed out everywhere"); err != nil {
		return "", fmt.Errorf("sign out everywhere: %w", err)
	}
	s.record(r, audit.Event{Kind: audit.KindRevoke, Person: key, Reason: "signed out everywhere"})
	if signedIn.Person.Provider != "" {
		if err := s.forget(r.Context(), key.Subject); err != nil {
			return "", fmt.Errorf("sign out everywhere: %w", err)
		}
	}
	_, err = s.End(w, r)
	return elsewhere, err
}

// Passkeys returns the passkeys of the person who is signed in.
func (s *Service) Passkeys(ctx context.Context, signedIn *identity.SignedIn) ([]store.Passkey, error) {
	return s.Store.Passkeys(ctx, signedIn.Person.Key.Subject)
}

// RemovePasskey removes one of the person's own passkeys. One that is gone already is no error.
func (s *Service) RemovePasskey(r *http.Request, signedIn *identity.SignedIn, credentialID []byte) error {
	err := s.Store.RemovePasskey(r.Context(), signedIn.Person.Key.Subject, credentialID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove passkey: %w", err)
	}
	s.record(r, audit.Event{Kind: audit.KindPasskeyRemoved, Person: signedIn.Person.Key})
	return nil
}
