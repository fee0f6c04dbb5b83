package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
)

// Users manages the built-in users, for the commands and for the quickstart.
type Users struct {
	store  *store.Store
	now    func() time.Time
	hasher *hasher
}

// NewUsers returns the users of a store.
func NewUsers(s *store.Store, now func() time.Time) *Users {
	return &Users{store: s, now: now, hasher: newHasher(currentParams)}
}

// UserSpec describes a user to add. Only the name is required; without a password a random one is made.
type UserSpec struct {
	Username      string
	Name          string
	Email         string
	EmailVerified bool
	Groups        []string
	Claims        identity.Claims
	Password      secret.Text
}

// Add creates a user. The password that it returns is the generated one, empty when the spec brought its own; it is
// stored as a hash only, so this is the one time that anybody sees it.
func (u *Users) Add(ctx context.Context, spec UserSpec) (store.User, secret.Text, error) {
	username, err := checkUsername(spec.Username)
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	if err := errors.Join(checkName(spec.Name), checkEmail(spec.Email), checkGroups(spec.Groups), checkClaims(spec.Claims)); err != nil {
		return store.User{}, secret.Text{}, fmt.Errorf("add user %s: %w", username, err)
	}
	password, generated, err := choosePassword(spec.Password, username)
	if err != nil {
		return store.User{}, secret.Text{}, fmt.Errorf("add user %s: %w", username, err)
	}
	hash, err := u.hasher.hash(ctx, password)
	if err != nil {
		return store.User{}, secret.Text{}, fmt.Errorf("add user %s: %w", username, err)
	}
	now := u.now()
	user := store.User{
		ID:            rand.Text(),
		Username:      username,
		Name:          strings.TrimSpace(spec.Name),
		Email:         spec.Email,
		EmailVerified: spec.EmailVerified && spec.Email != "",
		Groups:        spec.Groups,
		Claims:        spec.Claims,
		PasswordHash:  hash,
		CreatedAt:     now,
		UpdatedAt:     now,
	}
	if err := u.store.CreateUser(ctx, user); err != nil {
		if errors.Is(err, store.ErrExists) {
			return store.User{}, secret.Text{}, fmt.Errorf("add user %s: %w: somebody has that name already; list them with: gatehouse user list", username, err)
		}
		return store.User{}, secret.Text{}, fmt.Errorf("add user %s: %w", username, err)
	}
	return user, generated, nil
}

// Bootstrap creates the first user with a random password, which it returns this once. When there are users already
// it does nothing and returns created == false. A username that cannot be used, as those of some operating systems,
// gives way to "demo".
func (u *Users) Bootstrap(ctx context.Context, spec UserSpec) (user store.User, password secret.Text, created bool, err error) {
	existing, err := u.store.Users(ctx)
	if err != nil {
		return store.User{}, secret.Text{}, false, fmt.Errorf("look for users: %w", err)
	}
	if len(existing) > 0 {
		return store.User{}, secret.Text{}, false, nil
	}
	if _, err := checkUsername(spec.Username); err != nil {
		spec.Username = "demo"
	}
	spec.Password = secret.Text{}
	user, password, err = u.Add(ctx, spec)
	if errors.Is(err, store.ErrExists) { // another process was first
		return store.User{}, secret.Text{}, false, nil
	}
	return user, password, err == nil, err
}

// List returns all users.
func (u *Users) List(ctx context.Context) ([]store.User, error) { return u.store.Users(ctx) }

// SetPassword gives a user a new password, ends their browser sessions and disconnects their clients. It returns the
// generated password when the given one is empty.
func (u *Users) SetPassword(ctx context.Context, username string, password secret.Text) (secret.Text, error) {
	user, err := u.find(ctx, username)
	if err != nil {
		return secret.Text{}, err
	}
	chosen, generated, err := choosePassword(password, user.Username)
	if err != nil {
		return secret.Text{}, fmt.Errorf("set the password of %s: %w", user.Username, err)
	}
	hash, err := u.hasher.hash(ctx, chosen)
	if err == nil {
		err = u.store.SetPasswordHash(ctx, user.ID, hash)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("set the password of %s: %w", user.Username, err)
	}
	return generated, nil
}

// Disable ends a user's access everywhere, at once.
func (u *Users) Disable(ctx context.Context, username string) error {
	return u.setDisabled(ctx, username, true)
}

// Enable lets a disabled user sign in again; what was ended stays ended.
func (u *Users) Enable(ctx context.Context, username string) error {
	return u.setDisabled(ctx, username, false)
}

func (u *Users) setDisabled(ctx context.Context, username string, disabled bool) error {
	user, err := u.find(ctx, username)
	if err != nil {
		return err
	}
	if err := u.store.SetUserDisabled(ctx, user.ID, disabled); err != nil {
		return fmt.Errorf("change user %s: %w", user.Username, err)
	}
	return nil
}

// SetAccess replaces a user's groups and claims. Tokens issued before are no longer accepted.
func (u *Users) SetAccess(ctx context.Context, username string, groups []string, claims identity.Claims) error {
	user, err := u.find(ctx, username)
	if err != nil {
		return err
	}
	if err := errors.Join(checkGroups(groups), checkClaims(claims)); err != nil {
		return fmt.Errorf("change the access of %s: %w", user.Username, err)
	}
	if err := u.store.SetUserAccess(ctx, user.ID, groups, claims); err != nil {
		return fmt.Errorf("change the access of %s: %w", user.Username, err)
	}
	return nil
}

func (u *Users) find(ctx context.Context, username string) (store.User, error) {
	user, err := u.store.UserByName(ctx, username)
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, fmt.Errorf("%w: there is no user %q; list them with: gatehouse user list", err, username)
	}
	if err != nil {
		return store.User{}, fmt.Errorf("look up user %q: %w", username, err)
	}
	return user, nil
}

// choosePassword returns the password to use, and once more as generated when it had to be made.
func choosePassword(given secret.Text, username string) (password string, generated secret.Text, err error) {
	if given.IsZero() {
		p := generatePassword()
		return p, secret.New(p), nil
	}
	return given.Reveal(), secret.Text{}, checkPassword(given.Reveal(), username)
}

var usernamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,63}$`)

func validUsername(lower string) bool { return usernamePattern.MatchString(lower) }

// checkUsername returns the form in which a username is kept.
func checkUsername(name string) (string, error) {
	lower := strings.ToLower(name)
	if !validUsername(lower) {
		return "", fmt.Errorf("username %q: use 1 to 64 of the letters a to z, digits and . _ - + @, beginning with a letter or digit", name)
	}
	return lower, nil
}

// checkName lets through the two joiners, which Persian, Sinhala and emoji are written with, beside what is printable.
func checkName(name string) error {
	if len(name) > 200 || !printable(strings.NewReplacer("\u200c", "", "\u200d", "").Replace(name)) {
		return errors.New("the name must be at most 200 bytes of printable text")
	}
	return nil
}

func checkEmail(email string) error {
	if email == "" {
		return nil
	}
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || len(email) > 254 || !printable(email) || strings.ContainsAny(email, " <>,;") || strings.Contains(domain, "@") {
		return fmt.Errorf("e-mail address %q: write it as name@domain", email)
	}
	return nil
}

func checkGroups(groups []string) error {
	if len(groups) > 200 {
		return fmt.Errorf("%d groups are too many; 200 is the limit", len(groups))
	}
	for i, g := range groups {
		switch {
		case g == "" || len(g) > 200 || !printable(g) || strings.TrimSpace(g) != g:
			return fmt.Errorf("group %q: use 1 to 200 bytes of printable text without spaces around it", g)
		case slices.Contains(groups[:i], g):
			return fmt.Errorf("group %q is named twice", g)
		}
	}
	return nil
}

var claimName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`)

func checkClaims(claims identity.Claims) error {
	for name := range claims {
		switch {
		case identity.ReservedClaim(name):
			return fmt.Errorf("claim %q is reserved; choose another name", name)
		case !claimName.MatchString(name):
			return fmt.Errorf("claim %q: use letters, digits and _ . : / - for its name, at most 128", name)
		}
	}
	encoded, err := json.Marshal(claims)
	if err != nil {
		return fmt.Errorf("claims are not JSON values: %w", err)
	}
	if len(encoded) > 4096 {
		return fmt.Errorf("the claims take %d bytes; 4096 is the limit, because every token carries them", len(encoded))
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
