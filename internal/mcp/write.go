package mcp

import (
	"bytes"
	"strconv"
)

// Edit says what to replace in the params of a message. Zero fields leave the bytes as they are, and so does a value
// that the message does not have.
type Edit struct {
	Name          string // params.name, params.uri, or the name or uri of params.ref
	ProgressToken []byte // raw JSON
	RequestID     []byte // raw JSON
	RequestState  []byte // raw JSON
	Meta          []byte // raw JSON of the whole _meta, also where there was none; then ProgressToken is not looked at
}

// AppendParams writes the params with the edit's replacements; all other bytes are untouched.
func (m *Message) AppendParams(dst []byte, e Edit) []byte {
	switch {
	case m.Params == nil && e.Meta == nil:
		return dst
	case m.Params == nil:
		return append(append(append(dst, `{"_meta":`...), e.Meta...), '}')
	case e.Meta != nil && m.at.meta.end == 0:
		return m.insertMeta(dst, e)
	}
	type change struct {
		at  span
		raw []byte
	}
	var room [4]change
	changes := room[:0]
	add := func(at span, raw []byte) {
		if at.end != 0 && raw != nil {
			i := len(changes)
			changes = append(changes, change{at, raw})
			for ; i > 0 && changes[i-1].at.start > at.start; i-- {
				changes[i-1], changes[i] = changes[i], changes[i-1]
			}
		}
	}
	if e.Name != "" && e.Name != m.Name {
		add(m.at.name, AppendString(nil, e.Name))
	}
	if e.Meta != nil {
		add(m.at.meta, e.Meta)
	} else {
		add(m.at.progressToken, e.ProgressToken)
	}
	add(m.at.requestID, e.RequestID)
	add(m.at.requestState, e.RequestState)
	from := int32(0)
	for _, c := range changes {
		dst = append(dst, m.Params[from:c.at.start]...)
		dst = append(dst, c.raw...)
		from = c.at.end
	}
	return append(dst, m.Params[from:]...)
}

// insertMeta is AppendParams for params that have no _meta yet.
func (m *Message) insertMeta(dst []byte, e Edit) []byte {
	meta := e.Meta
	e.Meta = nil
	start := len(dst)
	dst = m.AppendParams(dst, e)
	rest := bytes.TrimLeft(dst[start+1:], " \t\r\n") // behind the brace that params begin with
	head := append([]byte(`{"_meta":`), meta...)
	if rest[0] != '}' {
		head = append(head, ',')
	}
	return append(dst[:start], append(head, rest...)...)
}

// AppendMeta writes the message's _meta for another hop: without what the client says about itself and the protocol,
// under another progress token, and with more members behind, which are raw JSON without braces.
func (m *Message) AppendMeta(dst, token, more []byte) []byte {
	start := len(dst)
	dst = append(dst, '{')
	add := func(member ...[]byte) {
		if len(dst) > start+1 {
			dst = append(dst, ',')
		}
		for _, part := range member {
			dst = append(dst, part...)
		}
	}
	if m.at.keeps {
		EachMember(m.Meta, func(key, member, _ []byte) {
			switch string(key) {
			case MetaVersion, MetaCapabilities, MetaClientInfo, MetaLogLevel:
			case "progressToken":
				add([]byte(`"progressToken":`), token)
			default:
				add(member)
			}
		})
	}
	if len(more) > 0 {
		add(more)
	}
	return append(dst, '}')
}

// Edited returns the message with the edit applied: its params are new bytes, its Raw is nil. It serves to hand a
// message on under the reader's own tokens.
func (m *Message) Edited(e Edit) Message {
	out := *m
	out.Raw = nil
	out.Params = m.AppendParams(nil, e)
	if again, err := NewRequest(m.Method, out.Params); err == nil {
		again.Kind, again.ID = m.Kind, m.ID
		return again
	}
	return out
}

func appendHead(dst []byte, id []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0"`...)
	if id != nil {
		dst = append(dst, `,"id":`...)
		dst = append(dst, id...)
	}
	return dst
}

// AppendRequest writes a request; params may be nil.
func AppendRequest(dst, id []byte, method string, params []byte) []byte {
	dst = appendHead(dst, id)
	dst = append(dst, `,"method":`...)
	dst = AppendString(dst, method)
	if params != nil {
		dst = append(dst, `,"params":`...)
		dst = append(dst, params...)
	}
	return append(dst, '}')
}

// AppendNotification writes a notification; params may be nil.
func AppendNotification(dst []byte, method string, params []byte) []byte {
	return AppendRequest(dst, nil, method, params)
}

// AppendResultHead writes what stands before the result in a response; a brace ends it.
func AppendResultHead(dst, id []byte) []byte {
	dst = append(append(dst, `{"jsonrpc":"2.0","id":`...), id...)
	return append(dst, `,"result":`...)
}

// AppendResult writes a response with a result, which may be in pieces; none is written as {}.
func AppendResult(dst, id []byte, result ...[]byte) []byte {
	dst = appendHead(dst, id)
	dst = append(dst, `,"result":`...)
	empty := len(dst)
	for _, piece := range result {
		dst = append(dst, piece...)
	}
	if len(dst) == empty {
		dst = append(dst, "{}"...)
	}
	return append(dst, '}')
}

// AppendError writes a response with an error; an id that could not be read is nil and written as null
// (JSON-RPC 2.0 §5).
func AppendError(dst, id []byte, e *Error) []byte {
	if id == nil {
		id = []byte("null")
	}
	dst = appendHead(dst, id)
	dst = append(dst, `,"error":{"code":`...)
	dst = strconv.AppendInt(dst, int64(e.Code), 10)
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, e.Message)
	if e.Data != nil {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Data...)
	}
	return append(dst, "}}"...)
}

// AppendBatch writes several messages as one array.
func AppendBatch(dst []byte, messages [][]byte) []byte {
	dst = append(dst, '[')
	for i, m := range messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, m...)
	}
	return append(dst, ']')
}

// AppendToolError writes a tools/call result that tells the model about a failure (server/tools, error handling).
func AppendToolError(dst []byte, text string) []byte {
	dst = append(dst, `{"content":[{"type":"text","text":`...)
	dst = AppendString(dst, text)
	return append(dst, `}],"isError":true}`...)
}

// AppendRequest writes the message as a request of our own: under another id, with the edit applied.
func (m *Message) AppendRequest(dst, id []byte, e Edit) []byte {
	dst = AppendRequest(dst, id, m.Method, nil)
	if m.Params == nil && e.Meta == nil {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"params":`...)
	return append(m.AppendParams(dst, e), '}')
}
