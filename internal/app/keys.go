package app

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"gatehouse/internal/config"
	"gatehouse/internal/seal"
)

// masterKeyFile is where the quickstart, and only the quickstart, keeps a master key of its own.
const masterKeyFile = "master.key"

// keyring takes the master keys from the configuration; the quickstart makes one in its state directory.
func keyring(c *config.Config) (*seal.Keyring, error) {
	if !c.Quickstart {
		return seal.NewKeyring(c.MasterKeyBytes()...)
	}
	key, err := quickstartKey(filepath.Join(c.StateDir, masterKeyFile))
	if err != nil {
		return nil, err
	}
	return seal.NewKeyring(key)
}

// quickstartKey reads the key, or makes it when it is not there yet.
func quickstartKey(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeQuickstartKey(path)
	case err == nil && !ownersAlone(path):
		return nil, fmt.Errorf("the master key in %s can be read by others on this machine; run: chmod 600 %s", path, path)
	case err != nil:
		return nil, fmt.Errorf("read the master key of the quickstart: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != seal.KeySize {
		return nil, fmt.Errorf("read the master key of the quickstart: %s does not hold %d bytes in base64; restore it from a backup, or remove the whole state directory to begin anew", path, seal.KeySize)
	}
	return key, nil
}

// ownersAlone reports whether nobody but the owner can read a file, on systems that have such modes.
func ownersAlone(path string) bool {
	info, err := os.Stat(path)
	return err == nil && (runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0)
}

func makeQuickstartKey(path string) ([]byte, error) {
	key := make([]byte, seal.KeySize)
	_, _ = rand.Read(key) // never fails
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the master key of the quickstart: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("write the master key of the quickstart to %s: %w", path, err)
	}
	return key, nil
}
