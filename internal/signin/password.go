package signin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// The bounds of a password that a person chooses. The upper one keeps hashing cheap to ask for.
const (
	MinPasswordChars = 12
	MaxPasswordBytes = 1024
)

// hashParams are argon2id's costs, memory in KiB.
type hashParams struct {
	memory, time uint32
	threads      uint8
}

// currentParams is what new hashes are made with: OWASP's first choice for argon2id.
var currentParams = hashParams{memory: 19 * 1024, time: 2, threads: 1}

const (
	saltLen = 16
	hashLen = 32
)

// hasher makes and checks password hashes, a bounded number at a time, so that a flood of sign-ins costs waiting
// and not memory.
type hasher struct {
	params hashParams
	slots  chan struct{}
	dummy  string // a hash of nothing anybody knows, for people who do not exist
}

func newHasher(p hashParams) *hasher {
	return &hasher{
		params: p,
		slots:  make(chan struct{}, max(1, runtime.NumCPU()/2)), // the other half is for those who are signed in
		dummy:  formatHash(p, randomBytes()[:saltLen], randomBytes()),
	}
}

// hash returns the PHC string of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := randomBytes()[:saltLen]
	sum, err := h.run(ctx, h.params, password, salt, hashLen)
	if err != nil {
		return "", err
	}
	return formatHash(h.params, salt, sum), nil
}

// verify reports whether the password belongs to the PHC string, and whether that string should be renewed because
// the costs have changed since. An empty string belongs to nobody and takes as long as any other.
func (h *hasher) verify(ctx context.Context, phc, password string) (ok, stale bool, err error) {
	known := phc != ""
	if !known {
		phc = h.dummy
	}
	p, salt, want, err := parseHash(phc)
	if err != nil {
		return false, false, err
	}
	got, err := h.run(ctx, p, password, salt, uint32(len(want)))
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, want) == 1 && known
	return ok, p != h.params, nil
}

func (h *hasher) run(ctx context.Context, p hashParams, password string, salt []byte, n uint32) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a turn to hash a password: %w", ctx.Err())
	}
	defer func() { <-h.slots }()
	return argon2.IDKey([]byte(password), salt, p.time, p.memory, p.threads, n), nil
}

func formatHash(p hashParams, salt, sum []byte) string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, p.memory, p.time, p.threads, enc.EncodeToString(salt), enc.EncodeToString(sum))
}

var errHashFormat = errors.New("read password hash: it is not an argon2id hash in PHC form; set the password anew with: gatehouse user passwd")

// parseHash reads what formatHash wrote. The costs are bounded, so that a doctored store cannot ask for all memory.
func parseHash(phc string) (p hashParams, salt, sum []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errHashFormat
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return p, nil, nil, errHashFormat
	}
	enc := base64.RawStdEncoding.Strict()
	salt, saltErr := enc.DecodeString(parts[4])
	sum, sumErr := enc.DecodeString(parts[5])
	switch {
	case saltErr != nil || sumErr != nil,
		len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64,
		p.memory < 8 || p.memory > 1<<20 || p.time < 1 || p.time > 64 || p.threads < 1,
		!bytes.Equal([]byte(formatHash(p, salt, sum)), []byte(phc)):
		return p, nil, nil, errHashFormat
	}
	return p, salt, sum, nil
}

// WeakPassword says why a password that somebody chose is refused; its text is for the person who chose it.
type WeakPassword struct{ Reason string }

func (e *WeakPassword) Error() string { return e.Reason }

// checkPassword refuses what is guessed first. It leaves composition rules out, as NIST SP 800-63B asks.
func checkPassword(password, username string) error {
	lower := strings.ToLower(password)
	switch {
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return &WeakPassword{"The password contains characters that cannot be used."}
	case utf8.RuneCountInString(password) < MinPasswordChars:
		return &WeakPassword{fmt.Sprintf("The password is too short. Use at least %d characters; a few unrelated words do well.", MinPasswordChars)}
	case len(password) > MaxPasswordBytes:
		return &WeakPassword{fmt.Sprintf("The password is too long. Use at most %d bytes.", MaxPasswordBytes)}
	case username != "" && strings.Contains(lower, strings.ToLower(username)) && len(password) < len(username)+MinPasswordChars:
		return &WeakPassword{"The password is too close to the username."}
	case distinct(lower) < 5 || obvious(lower):
		return &WeakPassword{"This password is among the first that anybody would guess. Choose another."}
	}
	return nil
}

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// obvious reports a password that is a well-known word, keyboard row or counting once digits and signs are taken off.
func obvious(lower string) bool {
	letters := strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return r
	}, lower)
	switch letters {
	case "", "password", "passwordpassword", "passw", "passwd", "qwerty", "qwertyuiop", "qwertyuiopasdf", "qwertyqwerty",
		"asdfghjkl", "zxcvbnm", "letmein", "welcome", "admin", "administrator", "changeme", "secret", "gatehouse",
		"iloveyou", "abc", "abcd", "abcdef", "abcdefgh", "abcdefghijkl", "login", "test", "default", "root", "user":
		return true
	}
	return false
}

// generateAlphabet has 31 signs, none of which is taken for another.
const generateAlphabet = "abcdefghjkmnpqrstuvwxyz23456789"

// generatePassword returns a random password of 99 bits in four groups that can be read aloud and typed.
func generatePassword() string {
	var b strings.Builder
	n := big.NewInt(int64(len(generateAlphabet)))
	for i := range 20 {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		k, err := rand.Int(rand.Reader, n)
		if err != nil {
			panic(fmt.Sprintf("read random bytes: %v", err)) // never happens since Go 1.24
		}
		b.WriteByte(generateAlphabet[k.Int64()])
	}
	return b.String()
}
