package clientconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// object is a JSON object that keeps its order.
type object []member

type member struct {
	key   string
	value any
}

// with appends a member.
func (o object) with(key string, value any) object { return append(o, member{key, value}) }

// MarshalJSON writes the members in order, without escaping &, < and >.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := encode(m.value)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", m.key, err)
		}
		b.WriteString(quote(m.key) + ":" + value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func encode(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// compact writes one line of JSON. It cannot fail: the values are strings, numbers, lists and objects of them.
func compact(v any) string {
	s, err := encode(v)
	if err != nil {
		panic(fmt.Sprintf("encode client configuration: %v", err))
	}
	return s
}

// indented writes JSON as it goes into a file.
func indented(v any) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(compact(v)), "", "  "); err != nil {
		panic(fmt.Sprintf("indent client configuration: %v", err))
	}
	return b.String() + "\n"
}

// quote writes a JSON string, which is a TOML basic string and a YAML double-quoted scalar as well.
func quote(s string) string { return compact(s) }

// inURL escapes text for a query value as encodeURIComponent does.
func inURL(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func inBase64(s string) string { return inURL(base64.StdEncoding.EncodeToString([]byte(s))) }

// shell quotes a word for a POSIX shell.
func shell(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@=,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// command joins words for a POSIX shell.
func command(words ...string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, shell(w))
	}
	return strings.Join(quoted, " ")
}
