package audit

import (
	"bytes"
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

// appendLine writes the event as a line with its line feed. The version tells readers apart when the form changes. It is
// written by hand because it is written for every call; fields that say nothing are left out.
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
		dst = appendThousandths(append(dst, `,"duration_ms":`...), us)
	}
	return append(dst, "}\n"...)
}

// appendThousandths writes n/1000, with as many decimals as it has.
func appendThousandths(dst []byte, n int64) []byte {
	dst = strconv.AppendInt(dst, n/1000, 10)
	rest := byte(n % 1000 / 10)
	last := byte(n % 10)
	if rest == 0 && last == 0 {
		return dst
	}
	dst = append(dst, '.', '0'+rest/10, '0'+rest%10, '0'+last)
	return bytes.TrimRight(dst, "0")
}

// appendField writes a text that has something to say.
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
