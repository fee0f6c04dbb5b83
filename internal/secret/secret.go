// Package secret holds text that must not be shown: it prints, logs and encodes as REDACTED, and has to be asked
// for its value by name. Where secrets come from is the configuration's business, how they are sealed is seal's.
package secret

import "log/slog"

const redacted = "REDACTED"

// Text is a secret value. Its zero value is the empty secret.
type Text struct{ value string }

// New wraps a value.
func New(value string) Text { return Text{value} }

// Reveal returns the value. Call it at the one place that needs it, and pass the result nowhere else.
func (t Text) Reveal() string { return t.value }

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool { return t.value == "" }

// String keeps the value out of anything formatted with fmt.
func (t Text) String() string { return redacted }

// GoString keeps the value out of %#v.
func (t Text) GoString() string { return redacted }

// LogValue keeps the value out of logs.
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON and YAML.
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }
