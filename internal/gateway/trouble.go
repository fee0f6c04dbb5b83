package gateway

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
)

// Error codes of our own, outside the ranges of JSON-RPC and MCP.
const (
	codeTrouble   = -31001 // the target is in trouble
	codeCancelled = -31002 // the client cancelled
	codeLost      = -31003 // the answer is no longer held
)

// complaint is what a client is told when a call got no answer.
type complaint struct {
	outcome string // for the record
	code    int
	text    string
	cause   error // for the log
}

// complain finds words for an error that is not the target's own. Sent says that the call may have left. The text names
// the target and what to do, and holds nothing that only the log may know.
func complain(ctx context.Context, name string, err error, sent bool) complaint {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, session.ErrCancelled):
		return complaint{outcome: "cancelled", code: codeCancelled, text: "The request was cancelled."}
	case errors.Is(cause, session.ErrEnded):
		return complaint{outcome: "session ended", code: codeCancelled, text: "The session ended before the answer came." + mayHave(sent)}
	case errors.Is(cause, errVanished):
		return complaint{outcome: "client vanished", code: codeCancelled, text: "The client vanished before the answer came." + mayHave(sent)}
	}
	c := complaint{outcome: "trouble", code: codeTrouble, cause: err}
	t, ok := errors.AsType[*target.Trouble](err)
	if !ok {
		c.text = fmt.Sprintf("The server %q could not be asked.%s", name, mayHave(sent))
		return c
	}
	c.outcome = "trouble: " + string(t.Kind)
	c.text = t.Message
	if t.Kind == target.CredentialRefused || t.Unsent {
		sent = false
	}
	c.text += mayHave(sent) + advice(t.Kind)
	return c
}

func mayHave(sent bool) string {
	if sent {
		return " The call may have been executed: check before you repeat it."
	}
	return " The call was not executed."
}

// advice says what an administrator should do.
func advice(kind target.TroubleKind) string {
	switch kind {
	case target.Down:
		return " If this goes on, ask the administrator of Gatehouse whether this target is running and reachable."
	case target.Timeout:
		return " If this goes on, ask the administrator of Gatehouse to look at this target, or to raise its timeout."
	case target.Rubbish:
		return " Ask the administrator of Gatehouse to look at this target's log."
	case target.TooLarge:
		return " Ask for less, or ask the administrator of Gatehouse to raise limits.answer."
	}
	return ""
}

// outlet is where the answer to a call goes.
type outlet interface {
	result(result []byte)
	error(e *mcp.Error)
}

// trouble answers a call that got no result, and returns the outcome for the record. What the target said itself is
// passed on as it is. For tools, trouble is a result that the model can read (server/tools, error handling).
func trouble(ctx context.Context, rq *request, out outlet, name string, err error, sent bool) string {
	_, inferred := errors.AsType[*target.Trouble](err)
	if said, ok := errors.AsType[*mcp.Error](err); ok && !inferred {
		out.error(said)
		return "error"
	}
	c := complain(ctx, name, err, sent)
	if c.cause != nil {
		rq.noted.Text("error", c.cause.Error())
	}
	if rq.m.Method == mcp.MethodToolsCall && c.code == codeTrouble {
		out.result(rq.toolError(c.text))
	} else {
		out.error(mcp.Errorf(c.code, "%s", c.text))
	}
	return c.outcome
}

// toolError is the result of a tool call in trouble.
func (rq *request) toolError(text string) []byte {
	return rq.dressOwn(mcp.AppendToolError(nil, text))
}
