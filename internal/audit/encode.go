package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/mcp"
)

// What others can write into the record is bounded: names of tools, client ids. A client id that is cut could not be
// revoked, so the longest that registration gives out fits.
const (
	maxField  = 512
	maxClient = 1536
)

// appendLine appends the event as one line of JSON, with its line feed. "v" is the version of the format, for programs that
// read it. Empty fields are left out. It does without encoding/json because it runs once for every call.
func appendLine(dst []byte, e *Event) []byte {
	dst = append(dst, `{"v":1,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","kind":`...)
	dst = mcp.AppendString(dst, string(e.Kind))
	dst = appendField(dst, "request_id", e.RequestID)
	if e.Address.IsValid() {
		dst = append(dst, `,"address":"`...)
		dst = append(e.Address.AppendTo(dst), '"')
	}
	dst = appendField(dst, "issuer", string(e.Person.Issuer))
	dst = appendField(dst, "subject", e.Person.Subject)
	dst = appendField(dst, "actor", e.Actor)
	dst = appendField(dst, "client", cut(string(e.Client), maxClient))
	dst = appendField(dst, "grant", string(e.Grant))
	if len(e.Scopes) > 0 {
		dst = appendField(dst, "scopes", e.Scopes.String())
	}
	dst = appendField(dst, "endpoint", e.Endpoint)
	dst = appendField(dst, "target", e.Target)
	dst = appendField(dst, "method", e.Method)
	dst = appendField(dst, "provider", e.Provider)
	dst = appendField(dst, "name", e.Name)
	dst = appendField(dst, "decision", string(e.Decision))
	dst = appendField(dst, "reason", e.Reason)
	dst = appendField(dst, "outcome", e.Outcome)
	if us := e.Duration.Microseconds(); us > 0 {
		dst = strconv.AppendFloat(append(dst, `,"duration_ms":`...), float64(us)/1000, 'f', -1, 64)
	}
	return append(dst, "}\n"...)
}

// appendField appends a member whose value is a text, unless the text is empty.
func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	if name != "client" {
		value = cut(value, maxField)
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return mcp.AppendString(dst, value)
}

// cut shortens a long text and adds a digest, so that two that differ only behind the cut stay apart.
func cut(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:longest], "") + "…sha256:" + hex.EncodeToString(sum[:8])
}
