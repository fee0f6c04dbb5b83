package mcp

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// NameSeparator stands between a target's name and the name of its tool or prompt.
const NameSeparator = "___"

// Bounds of the names of tools and prompts as clients see them: APIs of models take no more (server/tools, tool names).
const (
	MaxName       = 64
	maxNamePrefix = 32 // of a name that has to be shortened: room for the tool's own beginning
	hashLength    = 10 // characters of five bits each
)

// PublicName is the name under which a target's tool or prompt is shown: the prefix and its own name, when that is short
// and of letters, digits, dots, dashes and underscores. Any other gets a digest of target and name as its end. It says
// the same always, whatever other tools there are.
func PublicName(prefix, target, name string) string {
	if full := prefix + name; len(full) <= MaxName && plainName(full) {
		return full
	}
	return HashedName(prefix, target, name)
}

// HashedName is PublicName with the digest in any case.
func HashedName(prefix, target, name string) string {
	digest := sha256.Sum256([]byte(target + "\x00" + name))
	end := "_" + strings.ToLower(base32.HexEncoding.EncodeToString(digest[:]))[:hashLength]
	b := make([]byte, 0, MaxName)
	b = append(b, prefix[:min(len(prefix), maxNamePrefix)]...)
	for _, c := range []byte(name) {
		if len(b) == MaxName-len(end) {
			break
		}
		if !nameByte(c) {
			c = '_'
		}
		b = append(b, c)
	}
	return string(append(b, end...))
}

func plainName(s string) bool {
	for _, c := range []byte(s) {
		if !nameByte(c) {
			return false
		}
	}
	return s != ""
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

// ValidTargetName reports whether a target may be called s: letters, digits, dot, dash and underscore, beginning and
// ending with a letter or digit, without the separator, at most 48 characters.
func ValidTargetName(s string) bool {
	if s == "" || len(s) > 48 || strings.Contains(s, NameSeparator) {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(s)-1 && (c == '.' || c == '-' || c == '_')
		if !alnum && !inner {
			return false
		}
	}
	return true
}

// uriMark stands before a target's name in the fragment of a URI that other targets have as well. A fragment keeps
// scheme, host and path as they are, templates expand around it, and it is never sent to a server.
const uriMark = "gatehouse-target="

// skillScheme is that of skills, whose files refer to each other by relative URIs and whose names are the end of a path:
// there the mark is the first segment (SEP-2640, resource mapping).
const skillScheme = "skill://"

// MarkURI adds to a resource's URI, or a template of URIs, which target it belongs to.
func MarkURI(uri, target string) string {
	if path, skill := strings.CutPrefix(uri, skillScheme); skill {
		return skillScheme + uriMark + target + "/" + path
	}
	if strings.Contains(uri, "#") {
		return uri + "&" + uriMark + target
	}
	return uri + "#" + uriMark + target
}

// UnmarkURI undoes MarkURI. Of several marks the outer one counts: the others are part of the target's own URI.
func UnmarkURI(uri string) (own, target string, marked bool) {
	if path, skill := strings.CutPrefix(uri, skillScheme+uriMark); skill {
		target, own, marked = strings.Cut(path, "/")
		if !marked || !ValidTargetName(target) {
			return uri, "", false
		}
		return skillScheme + own, target, true
	}
	i := strings.LastIndex(uri, uriMark)
	if i < 1 || uri[i-1] != '#' && uri[i-1] != '&' {
		return uri, "", false
	}
	own, target = uri[:i-1], uri[i+len(uriMark):]
	if !ValidTargetName(target) || own == "" {
		return uri, "", false
	}
	return own, target, true
}
