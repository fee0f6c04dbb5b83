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

// encoder writes events. It keeps the second of the last one as text, because many events have the same.
type encoder struct {
	second int64
	text   []byte // of second, up to the fraction
}

// appendLine appends the event as one line of JSON, with its line feed. "v" is the version of the format, for programs that
// read it. Empty fields are left out. It does without encoding/json because it runs once for every call.
func (c *encoder) appendLine(dst []byte, e *Event) []byte {
	dst = append(dst, `{"v":1,"time":"`...)
	dst = c.appendTime(dst, e.Time)
	dst = append(dst, `","kind":"`...)
	dst = append(append(dst, e.Kind...), '"')
	dst = appendField(dst, `,"request_id":`, e.RequestID, maxField)
	if e.Address.IsValid() {
		dst = append(dst, `,"address":"`...)
		dst = append(e.Address.AppendTo(dst), '"')
	}
	dst = appendField(dst, `,"issuer":`, string(e.Person.Issuer), maxField)
	dst = appendField(dst, `,"subject":`, e.Person.Subject, maxField)
	dst = appendField(dst, `,"actor":`, e.Actor, maxField)
	dst = appendField(dst, `,"client":`, string(e.Client), maxClient)
	dst = appendField(dst, `,"grant":`, string(e.Grant), maxField)
	if len(e.Scopes) > 0 {
		dst = appendField(dst, `,"scopes":`, e.Scopes.String(), maxField)
	}
	dst = appendField(dst, `,"endpoint":`, e.Endpoint, maxField)
	dst = appendField(dst, `,"target":`, e.Target, maxField)
	dst = appendField(dst, `,"method":`, e.Method, maxField)
	dst = appendField(dst, `,"provider":`, e.Provider, maxField)
	dst = appendField(dst, `,"name":`, e.Name, maxField)
	dst = appendField(dst, `,"decision":`, string(e.Decision), maxField)
	dst = appendField(dst, `,"reason":`, e.Reason, maxField)
	dst = appendField(dst, `,"outcome":`, e.Outcome, maxField)
	if us := e.Duration.Microseconds(); us > 0 {
		dst = strconv.AppendInt(append(dst, `,"duration_ms":`...), us/1000, 10)
		dst = appendFraction(dst, int(us%1000), 3)
	}
	return append(dst, "}\n"...)
}

// appendTime writes a time as time.RFC3339Nano has it, in UTC.
func (c *encoder) appendTime(dst []byte, t time.Time) []byte {
	if second := t.Unix(); second != c.second || c.text == nil {
		c.second, c.text = second, t.UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05")
	}
	return append(appendFraction(append(dst, c.text...), t.Nanosecond(), 9), 'Z')
}

// appendFraction writes a fraction of so many decimal digits with its point, without zeros at the end.
func appendFraction(dst []byte, n, digits int) []byte {
	if n == 0 {
		return dst
	}
	for ; n%10 == 0; n /= 10 {
		digits--
	}
	var room [9]byte
	for i := digits - 1; i >= 0; i-- {
		room[i] = byte('0' + n%10)
		n /= 10
	}
	return append(append(dst, '.'), room[:digits]...)
}

// appendField appends a member whose value is a text, unless the text is empty.
func appendField(dst []byte, key, value string, longest int) []byte {
	if value == "" {
		return dst
	}
	if len(value) > longest {
		value = cut(value, longest)
	}
	return mcp.AppendString(append(dst, key...), value)
}

// cut shortens a long text and adds a digest, so that two that differ only behind the cut stay apart.
func cut(s string, longest int) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:longest], "") + "…sha256:" + hex.EncodeToString(sum[:8])
}
