package testkit

import (
	"bytes"
	"crypto/rand"
	"testing"

	"gatehouse/internal/seal"
)

// Keyring returns a keyring with a master key for each byte, which consists of that byte, the newest first. Without any it has
// one random master key.
func Keyring(t testing.TB, fill ...byte) *seal.Keyring {
	t.Helper()
	var masters [][]byte
	for _, b := range fill {
		masters = append(masters, bytes.Repeat([]byte{b}, seal.KeySize))
	}
	if masters == nil {
		masters = [][]byte{make([]byte, seal.KeySize)}
		_, _ = rand.Read(masters[0]) // never fails
	}
	keys, err := seal.NewKeyring(masters...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
