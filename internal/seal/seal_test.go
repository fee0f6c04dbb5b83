package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"

	"gatehouse/internal/seal"
)

func master(first byte) []byte {
	m := make([]byte, seal.KeySize)
	m[0] = first
	return m
}

func keyring(t testing.TB, masters ...[]byte) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring(masters...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyringRefusesWrongSizes(t *testing.T) {
	t.Parallel()
	for name, masters := range map[string][][]byte{
		"none": {}, "short": {make([]byte, 31)}, "long": {make([]byte, 33)}, "second empty": {master(1), nil},
	} {
		if _, err := seal.NewKeyring(masters...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestKeyringKeepsItsOwnCopy(t *testing.T) {
	t.Parallel()
	m := master(1)
	k := keyring(t, m)
	clear(m)
	sealed := k.Box("p").Seal([]byte("x"), nil)
	if _, err := keyring(t, master(1)).Box("p").Open(sealed, nil); err != nil {
		t.Error("the key changed with the caller's bytes")
	}
}

func TestSealedValuesOpenAtTheirPlaceOnly(t *testing.T) {
	t.Parallel()
	k := keyring(t, master(1))
	plain, row := []byte("upstream token"), []byte("row 7")
	sealed := k.Box("tokens").Seal(plain, row)
	if got, err := k.Box("tokens").Open(sealed, row); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opened %q, %v", got, err)
	}
	if bytes.Contains(sealed, plain) || bytes.Equal(sealed, k.Box("tokens").Seal(plain, row)) {
		t.Error("the sealed value shows its content, or is the same twice")
	}
	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return k.Box("sessions").Open(sealed, row) },
		"another row":     func() ([]byte, error) { return k.Box("tokens").Open(sealed, []byte("row 8")) },
		"another master":  func() ([]byte, error) { return keyring(t, master(2)).Box("tokens").Open(sealed, row) },
		"under a token":   func() ([]byte, error) { return seal.UnderToken(string(master(1)), "tokens").Open(sealed, row) },
		"cut off":         func() ([]byte, error) { return k.Box("tokens").Open(sealed[:len(sealed)-1], row) },
		"nonce only":      func() ([]byte, error) { return k.Box("tokens").Open(sealed[:12], row) },
		"nothing":         func() ([]byte, error) { return k.Box("tokens").Open(nil, row) },
	} {
		if got, err := open(); !errors.Is(err, seal.ErrOpen) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for i := range sealed {
		altered := bytes.Clone(sealed)
		altered[i] ^= 1
		if _, err := k.Box("tokens").Open(altered, row); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("opened with byte %d altered", i)
		}
	}
}

func TestKeyChange(t *testing.T) {
	t.Parallel()
	before, during, after := keyring(t, master(1)), keyring(t, master(2), master(1)), keyring(t, master(2))
	old := before.Box("p").Seal([]byte("x"), nil)
	if _, err := during.Box("p").Open(old, nil); err != nil {
		t.Error("an old value does not open while the keys change")
	}
	if during.Box("p").Current(old, nil) || !before.Box("p").Current(old, nil) {
		t.Error("Current is wrong about a value under the old key")
	}
	if got := during.Box("p").Seal([]byte("x"), nil); !after.Box("p").Current(got, nil) {
		t.Error("a new value is sealed under the old key")
	}
	if _, err := after.Box("p").Open(old, nil); !errors.Is(err, seal.ErrOpen) {
		t.Error("an old value opens without its key")
	}
	if !during.MAC("p").Check([]byte("d"), before.MAC("p").Sum([]byte("d"))) || after.MAC("p").Check([]byte("d"), before.MAC("p").Sum([]byte("d"))) {
		t.Error("tags do not follow the keys")
	}
}

func TestMAC(t *testing.T) {
	t.Parallel()
	m := keyring(t, master(1)).MAC("csrf")
	tag := m.Sum([]byte("data"))
	for name, c := range map[string]struct {
		mac       *seal.MAC
		data, tag []byte
		want      bool
	}{
		"right":           {m, []byte("data"), tag, true},
		"other data":      {m, []byte("date"), tag, false},
		"cut tag":         {m, []byte("data"), tag[:16], false},
		"no tag":          {m, []byte("data"), nil, false},
		"another purpose": {keyring(t, master(1)).MAC("other"), []byte("data"), tag, false},
	} {
		if got := c.mac.Check(c.data, c.tag); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestUnderToken(t *testing.T) {
	t.Parallel()
	sealed := seal.UnderToken("old token", "successor").Seal([]byte("new token"), []byte("grant"))
	if got, err := seal.UnderToken("old token", "successor").Open(sealed, []byte("grant")); err != nil || string(got) != "new token" {
		t.Errorf("%q, %v", got, err)
	}
	for _, b := range []*seal.Box{seal.UnderToken("another", "successor"), seal.UnderToken("old token", "other")} {
		if _, err := b.Open(sealed, []byte("grant")); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("opened elsewhere: %v", err)
		}
	}
}

// A sealed string that opened in two spellings could walk around a deny list.
func FuzzOpenString(f *testing.F) {
	k, err := seal.NewKeyring(master(1))
	if err != nil {
		f.Fatal(err)
	}
	box := k.Box("client ids")
	good := box.SealString([]byte("client"), []byte("a"))
	for _, s := range []string{good, good + "\n", "\r" + good, good[:5] + "\r\n" + good[5:], good + "=", good + "A", " " + good, good[:len(good)-1], "", "+/", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := box.OpenString(s, []byte("a"))
		if err != nil {
			if !errors.Is(err, seal.ErrOpen) || s == good {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || base64.RawURLEncoding.EncodeToString(raw) != s || string(got) != "client" {
			t.Errorf("%q opened as %q", s, got)
		}
	})
}
