// Package secret holds text that must not be shown: it prints, logs and encodes as REDACTED, and has to be asked
// for its value by name. Where secrets come from is the configuration's business, how they are sealed is seal's.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "REDACTED"

// Text is a secret value. Its zero value is the empty secret.
//
// It holds a pointer because fmt does not ask a value in an unexported field how it wants to be shown: there it prints
// an address.
type Text struct{ value *string }

// New wraps a value.
func New(value string) Text { return Text{&value} }

// Reveal returns the value. Call it at the one place that needs it, and pass the result nowhere else.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool { return t.Reveal() == "" }

// String keeps the value out of whatever asks for a string.
func (t Text) String() string { return redacted }

// Format keeps the value out of anything formatted with fmt, whatever the verb.
func (t Text) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, redacted) // a fmt.State keeps the error itself
}

// LogValue keeps the value out of logs.
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON and YAML.
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }
