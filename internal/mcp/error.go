package mcp

import "fmt"

// Error codes of JSON-RPC 2.0 §5.1 and of the protocol. Codes from -32020 to -32099 belong to the specification;
// codes of our own lie outside -32768 … -32000.
const (
	CodeParse          = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603

	CodeResourceNotFound    = -32002 // sent by servers before 2026-07-28; we answer CodeInvalidParams
	CodeHeaderMismatch      = -32020
	CodeMissingCapability   = -32021
	CodeUnsupportedRevision = -32022
	CodeURLElicitation      = -32042 // 2025-11-25 only
)

// Error is the error member of a JSON-RPC response: what the other side said, or what we say to it.
type Error struct {
	Code    int
	Message string
	Data    []byte // raw JSON, nil when absent
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("json-rpc error %d: %s", e.Code, e.Message) }

// Errorf builds an error whose message is safe to show to the other side.
func Errorf(code int, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// ParseError decodes the error member of a response. A code that is not an integer, a message that is not a string
// or no object at all is refused: then the other side did not speak JSON-RPC.
func ParseError(raw []byte) (*Error, error) {
	code, ok := Lookup(raw, "code")
	n, isInt := parseInt(code)
	if !ok || !isInt {
		return nil, fmt.Errorf("error object: code is not an integer")
	}
	e := &Error{Code: int(n)}
	if msg, ok := Lookup(raw, "message"); ok {
		if e.Message, ok = DecodeString(msg); !ok {
			return nil, fmt.Errorf("error object: message is not a string")
		}
	}
	e.Data, _ = Lookup(raw, "data")
	return e, nil
}
