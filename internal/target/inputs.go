package target

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"gatehouse/internal/mcp"
)

// Bounds of what a server may ask before it gives a result.
const (
	maxRounds  = 10
	roundPause = time.Second // when it asks for nothing but another try
)

// settle turns a result of the stateless era into one of the session era: what the server asks for is asked of the client
// while it waits, and the call is repeated with the answers (2026-07-28 basic/patterns/mrtr).
func (l *statelessLink) settle(ctx context.Context, clock *clock, m *mcp.Message, name string, r *mcp.Result, inflight func(*mcp.Message)) (*mcp.Result, error) {
	var visits []string // questions by URL
	for round := 0; ; round++ {
		switch {
		case !r.Valid:
			return nil, l.c.t.trouble(Rubbish, fmt.Errorf("the result of %s is no object", m.Method))
		case r.Type != "" && r.Type != mcp.ResultComplete && r.Type != mcp.ResultInputRequired && !mcp.DeclaresAny(l.c.caller.Capabilities):
			return nil, l.c.t.trouble(Rubbish, fmt.Errorf("a result of type %.32q, which nobody asked for", r.Type))
		case r.Type != mcp.ResultInputRequired:
			l.tellComplete(visits)
			return olderResult(r), nil
		case round == maxRounds:
			return l.unasked(m, "it asked too many times")
		}
		responses, why := l.inputs(ctx, clock, r, &visits)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if why != "" {
			return l.unasked(m, why)
		}
		again, err := mcp.NewRequest(m.Method, withInputs(m.Params, responses, r.RequestState()))
		if err != nil {
			return nil, l.c.t.trouble(Rubbish, err)
		}
		if r, err = l.ask(ctx, clock, &again, name, inflight); err != nil {
			return nil, err
		}
	}
}

// tellComplete says that what a person did at a URL has done its work (2025-11-25 client/elicitation, completion).
func (l *statelessLink) tellComplete(visits []string) {
	for _, id := range visits {
		params := append(mcp.AppendString([]byte(`{"elicitationId":`), id), '}')
		if m, err := mcp.NewRequest(mcp.NoteElicitationComplete, params); err == nil {
			m.Kind = mcp.KindNotification
			l.c.events.Notify(&m)
		}
	}
}

// olderResult leaves out what the session era does not know: structured content is an object there.
func olderResult(r *mcp.Result) *mcp.Result {
	if s := r.Structured(); s == nil || s[0] == '{' {
		return r
	}
	return mcp.ParseResult(bytes.Join(r.Without(mcp.PartStructured), nil))
}

// inputs asks the client, one question after the other. Why says why there is no answer; visits grows by the ids of
// questions by URL.
func (l *statelessLink) inputs(ctx context.Context, clock *clock, r *mcp.Result, visits *[]string) (responses []byte, why string) {
	responses = []byte{'{'}
	mcp.EachMember(r.InputRequests(), func(key, _, question []byte) {
		if why != "" || ctx.Err() != nil {
			return
		}
		method, _ := mcp.LookupString(question, "method")
		params, _ := mcp.Lookup(question, "params")
		params = withElicitationID(method, params, visits)
		if l.c.events == nil || !l.c.can.Allows(method, params) {
			why = fmt.Sprintf("it needs %q, which this client does not support", method)
			return
		}
		ask, err := mcp.NewRequest(method, bytes.Clone(params))
		if err != nil {
			why = "its question is not valid MCP"
			return
		}
		clock.hold()
		answer, said := l.c.events.Request(ctx, &ask)
		clock.release()
		if said != nil {
			why = "the client refused its question: " + said.Message
			return
		}
		if len(responses) > 1 {
			responses = append(responses, ',')
		}
		responses = append(mcp.AppendString(responses, string(key)), ':')
		responses = append(responses, answer...)
	})
	if len(responses) == 1 && why == "" {
		_ = sleep(ctx, roundPause)
	}
	return append(responses, '}'), why
}

// withElicitationID adds what a question by URL must have in the session era, and has no more in this one.
func withElicitationID(method string, params []byte, visits *[]string) []byte {
	if needed, _ := mcp.NeededToAsk(method, params); !needed.URL {
		return params
	}
	id := rand.Text()
	*visits = append(*visits, id)
	return mcp.AppendMembers(nil, params, mcp.Change{
		More: []byte(`"elicitationId":"` + id + `"`),
		Drop: func(key []byte) bool { return string(key) == "elicitationId" },
	})
}

// withInputs is the params of the repeated call.
func withInputs(params, responses, state []byte) []byte {
	more := append([]byte(`"inputResponses":`), responses...)
	if state != nil {
		more = append(append(more, `,"requestState":`...), state...)
	}
	return mcp.AppendMembers(nil, params, mcp.Change{More: more, Drop: isInput})
}

// unasked is the end of a call whose question found no answer: for tools a result that the model can read.
func (l *statelessLink) unasked(m *mcp.Message, why string) (*mcp.Result, error) {
	text := fmt.Sprintf("The server %q cannot go on with this call: %s.", l.c.t.opt.Name, why)
	if m.Method == mcp.MethodToolsCall {
		return mcp.ParseResult(mcp.AppendToolError(nil, text)), nil
	}
	return nil, mcp.Errorf(mcp.CodeInternal, "%s", text)
}
