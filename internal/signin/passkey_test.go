package signin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
)

// authenticator is a passkey in software: one ES256 key that answers as a browser's script writes it down.
type authenticator struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	id      []byte
	user    []byte
	origin  string
	rpID    string
	counter uint32
	flags   byte // UP 0x01, UV 0x04, BE 0x08, BS 0x10
}

func newAuthenticator(t *testing.T, origin string) *authenticator {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &authenticator{t: t, key: key, id: randomBytes(), origin: origin, rpID: "localhost", flags: 0x05}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// options is what the script reads from data-options.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		User      struct {
			ID string `json:"id"`
		} `json:"user"`
	} `json:"publicKey"`
}

func (a *authenticator) parse(raw string) options {
	var o options
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		a.t.Fatal(err)
	}
	return o
}

func (a *authenticator) clientData(kind, challenge string) []byte {
	b, _ := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.origin, "crossOrigin": false})
	return b
}

func (a *authenticator) authData(extra byte) []byte {
	rp := sha256.Sum256([]byte(a.rpID))
	return binary.BigEndian.AppendUint32(append(rp[:], a.flags|extra), a.counter)
}

// create answers navigator.credentials.create, with an attestation of "none" (WebAuthn §8.7).
func (a *authenticator) create(rawOptions string) string {
	o := a.parse(rawOptions)
	a.user, _ = base64.RawURLEncoding.DecodeString(o.PublicKey.User.ID)
	public, err := a.key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	x, y := public[1:33], public[33:]

	data := a.authData(0x40)
	data = append(data, make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.id)))
	data = append(data, a.id...)
	data = append(data, 0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20) // COSE key: EC2, ES256, P-256, x
	data = append(data, x...)
	data = append(data, 0x22, 0x58, 0x20) // y
	data = append(data, y...)

	object := []byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59")
	object = binary.BigEndian.AppendUint16(object, uint16(len(data)))
	object = append(object, data...)
	return a.answer(map[string]any{
		"clientDataJSON":    b64(a.clientData("webauthn.create", o.PublicKey.Challenge)),
		"attestationObject": b64(object),
		"transports":        []string{"internal"},
	})
}

// get answers navigator.credentials.get.
func (a *authenticator) get(rawOptions string) string {
	client := a.clientData("webauthn.get", a.parse(rawOptions).PublicKey.Challenge)
	a.counter++
	data := a.authData(0)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(data, hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{
		"clientDataJSON":    b64(client),
		"authenticatorData": b64(data),
		"signature":         b64(signature),
		"userHandle":        b64(a.user),
	})
}

func (a *authenticator) answer(response map[string]any) string {
	b, _ := json.Marshal(map[string]any{
		"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "clientExtensionResults": map[string]any{}, "response": response,
	})
	return string(b)
}

var dataOptions = regexp.MustCompile(`data-options="([^"]*)"`)

// passkeySignIn shows the sign-in page and posts what the authenticator answers.
func (b *browser) passkeySignIn(a *authenticator, change func(url.Values)) answer {
	b.t.Helper()
	shown := b.get("/go?to=/back&again")
	shown = b.get(shown.Header.Get("Location"))
	m := dataOptions.FindStringSubmatch(shown.body)
	if m == nil {
		b.t.Fatal("the page offers no passkey")
	}
	form := fields(shown.body)
	form.Set("response", a.get(html.UnescapeString(m[1])))
	if change != nil {
		change(form)
	}
	return b.post(PasskeyPath, form)
}

// enroll adds a passkey for alice.
func (f *fixture) enroll(t *testing.T, a *authenticator) error {
	t.Helper()
	who := f.signedIn(t)
	offer, err := f.OfferPasskey(t.Context(), who)
	if err != nil || offer == nil {
		t.Fatalf("offer: %v, %v", offer, err)
	}
	r := newRequest(t)
	return f.AddPasskey(r, who, offer.Ceremony, a.create(offer.Options), "  my \n laptop ")
}

func newRequest(t *testing.T) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fixture) signedIn(t *testing.T) *identity.SignedIn {
	p, err := f.Person(t.Context(), f.key(f.alice.ID))
	if err != nil {
		t.Fatal(err)
	}
	return &identity.SignedIn{Person: p, SessionID: "s", AuthTime: f.clock.Now()}
}

func (f *fixture) authenticator(t *testing.T) *authenticator {
	return newAuthenticator(t, strings.TrimSuffix(f.PublicURL.String(), "/"))
}

func TestPasskeySignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.authenticator(t)
	if err := f.enroll(t, a); err != nil {
		t.Fatal(err)
	}
	keys, err := f.Passkeys(t.Context(), f.signedIn(t))
	if err != nil || len(keys) != 1 || keys[0].Name != "my laptop" {
		t.Fatalf("%+v, %v", keys, err)
	}
	for range 2 {
		b := f.browser(t)
		got := b.passkeySignIn(a, nil)
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/back" {
			t.Fatalf("got %d to %q", got.StatusCode, got.Header.Get("Location"))
		}
		if who := b.get("/who").body; !strings.HasPrefix(who, "alice ") || !strings.HasSuffix(who, " hwk,user,mfa") {
			t.Errorf("who = %q", who)
		}
	}
	if keys, _ := f.Passkeys(t.Context(), f.signedIn(t)); keys[0].LastUsed.IsZero() {
		t.Error("the use of the passkey was not noted")
	}
}

func TestSyncedPasskeyIsSoftware(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.authenticator(t)
	a.flags |= 0x18
	if err := f.enroll(t, a); err != nil {
		t.Fatal(err)
	}
	b := f.browser(t)
	b.passkeySignIn(a, nil)
	if who := b.get("/who").body; !strings.HasSuffix(who, " swk,user,mfa") {
		t.Errorf("who = %q", who)
	}
}

func TestPasskeyRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before func(f *fixture, a *authenticator)
		change func(f *fixture, form url.Values)
	}{
		"person not verified":   {before: func(_ *fixture, a *authenticator) { a.flags = 0x01 }},
		"another origin":        {before: func(_ *fixture, a *authenticator) { a.origin = "http://localhost:1" }},
		"another scheme":        {before: func(_ *fixture, a *authenticator) { a.origin = strings.Replace(a.origin, "http:", "https:", 1) }},
		"another relying party": {before: func(_ *fixture, a *authenticator) { a.rpID = "example.com" }},
		"counter goes back":     {before: func(_ *fixture, a *authenticator) { a.counter = 0 }},
		"another key": {before: func(f *fixture, a *authenticator) {
			a.key = newAuthenticator(a.t, a.origin).key
		}},
		"unknown user":       {before: func(_ *fixture, a *authenticator) { a.user = []byte("nobody") }},
		"unknown credential": {before: func(_ *fixture, a *authenticator) { a.id = randomBytes() }},
		"disabled user": {before: func(f *fixture, a *authenticator) {
			if err := f.users.Disable(a.t.Context(), "alice"); err != nil {
				a.t.Fatal(err)
			}
		}},
		"removed passkey": {before: func(f *fixture, a *authenticator) {
			if err := f.RemovePasskey(newRequest(a.t), f.signedIn(a.t), a.id); err != nil {
				a.t.Fatal(err)
			}
		}},
		"ceremony too old":   {change: func(f *fixture, _ url.Values) { f.clock.Advance(ceremonyLifetime + time.Second) }},
		"no ceremony":        {change: func(_ *fixture, form url.Values) { form.Del("ceremony") }},
		"altered ceremony":   {change: func(_ *fixture, form url.Values) { form.Set("ceremony", otherFirst(form.Get("ceremony"))) }},
		"foreign ceremony":   {change: func(f *fixture, form url.Values) { form.Set("ceremony", foreignCeremony(f)) }},
		"not an answer":      {change: func(_ *fixture, form url.Values) { form.Set("response", `{"id":7}`) }},
		"empty answer":       {change: func(_ *fixture, form url.Values) { form.Set("response", "") }},
		"without form token": {change: func(_ *fixture, form url.Values) { form.Del("csrf") }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			a := f.authenticator(t)
			if err := f.enroll(t, a); err != nil {
				t.Fatal(err)
			}
			b := f.browser(t)
			if got := b.passkeySignIn(a, nil); got.StatusCode != http.StatusSeeOther {
				t.Fatalf("the passkey does not work to begin with: %d", got.StatusCode)
			}
			b = f.browser(t)
			if tt.before != nil {
				tt.before(f, a)
			}
			got := b.passkeySignIn(a, func(form url.Values) {
				if tt.change != nil {
					tt.change(f, form)
				}
			})
			want := http.StatusUnauthorized
			if name == "without form token" {
				want = http.StatusForbidden
			}
			if got.StatusCode != want || b.get("/who").StatusCode != http.StatusUnauthorized {
				t.Errorf("got %d", got.StatusCode)
			}
		})
	}
}

// foreignCeremony is one that was begun in another browser.
func foreignCeremony(f *fixture) string {
	form, err := f.beginPasskeySignIn(randomBytes())
	if err != nil {
		panic(err)
	}
	return form.Ceremony
}

func TestPasskeyCeremonyWorksOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.authenticator(t)
	if err := f.enroll(t, a); err != nil {
		t.Fatal(err)
	}
	b := f.browser(t)
	var used url.Values
	b.passkeySignIn(a, func(form url.Values) { used = form })
	if got := b.post(PasskeyPath, used); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("the same answer again: %d", got.StatusCode)
	}
}

func TestAddPasskeyRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.authenticator(t)
	if err := f.enroll(t, a); err != nil {
		t.Fatal(err)
	}
	refused := func(err error) bool { var r *PasskeyRefused; return errors.As(err, &r) }
	if err := f.enroll(t, a); !refused(err) {
		t.Errorf("the same passkey twice: %v", err)
	}
	unverified := f.authenticator(t)
	unverified.flags = 0x01
	if err := f.enroll(t, unverified); !refused(err) {
		t.Errorf("without verifying the person: %v", err)
	}
	who := f.signedIn(t)
	offer, err := f.OfferPasskey(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	other := *who
	other.SessionID = "another session"
	if err := f.AddPasskey(newRequest(t), &other, offer.Ceremony, f.authenticator(t).create(offer.Options), ""); !refused(err) {
		t.Errorf("in another session: %v", err)
	}
	for range maxPasskeys - 1 {
		if err := f.enroll(t, f.authenticator(t)); err != nil {
			t.Fatal(err)
		}
	}
	if offer, err := f.OfferPasskey(t.Context(), who); offer != nil || err != nil {
		t.Errorf("one more than enough: %v, %v", offer, err)
	}
}

func TestNoPasskeysOnIPAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.Options
	o.PublicURL = &url.URL{Scheme: "http", Host: "127.0.0.1:8080"}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if offer, err := s.OfferPasskey(t.Context(), f.signedIn(t)); offer != nil || err != nil {
		t.Errorf("%v, %v", offer, err)
	}
}

func TestPasskeysCanBeOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.Options
	o.NoPasskeys = true
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if offer, err := s.OfferPasskey(t.Context(), f.signedIn(t)); offer != nil || err != nil {
		t.Errorf("a passkey can be added: %v", err)
	}
	if form, err := s.beginPasskeySignIn(randomBytes()); form != nil || err != nil {
		t.Errorf("a passkey is asked for: %v", err)
	}
}

// otherFirst changes the first letter, whatever it is.
func otherFirst(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}
