package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"gatehouse/internal/secret"
)

const value = "hunter2"

func TestReveal(t *testing.T) {
	t.Parallel()
	if got := secret.New(value).Reveal(); got != value {
		t.Errorf("revealed %q", got)
	}
	for name, empty := range map[string]secret.Text{"zero": {}, "empty": secret.New("")} {
		if !empty.IsZero() || empty.Reveal() != "" {
			t.Errorf("%s: not empty", name)
		}
	}
	if secret.New(value).IsZero() {
		t.Error("a value is empty")
	}
	if !reflect.DeepEqual(secret.New(value), secret.New(value)) || reflect.DeepEqual(secret.New(value), secret.New("other")) {
		t.Error("secrets cannot be compared in tests")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	s := secret.New(value)
	type settings struct {
		Public secret.Text
		hidden secret.Text
		list   []secret.Text
		table  map[string]secret.Text
		inner  *settings
	}
	all := settings{s, s, []secret.Text{s}, map[string]secret.Text{"a": s}, nil}
	all.inner = &settings{hidden: s}
	var shown bytes.Buffer
	for _, v := range []any{s, &s, all, &all, []any{s}, []settings{all}, fmt.Errorf("with %v", s)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%10s", "%z"} {
			fmt.Fprintf(&shown, verb, v)
		}
		fmt.Fprint(&shown, v)
		for _, h := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
			slog.New(h).Info("settings", "value", v, slog.Group("g", "v", v))
		}
		b, err := json.Marshal(v)
		if err != nil && !strings.Contains(err.Error(), "error") {
			t.Error(err)
		}
		shown.Write(b)
	}
	for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value)} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("%q is shown in:\n%s", form, &shown)
		}
	}
	if !strings.Contains(shown.String(), "REDACTED") {
		t.Error("nothing says that something is left out")
	}
}
