package gateway

import (
	"bytes"
	"slices"
	"strconv"

	"gatehouse/internal/mcp"
)

// What a client of the stateless era is asked, it is asked in a result, and it answers by making its call again
// (2026-07-28 basic/patterns/mrtr). A target of that era asks so by itself. Questions of other targets are turned into
// this form: those within a call in dialogue.go, those that send the person to a URL instead of a result here.

// checkInputs refuses inputResponses that are no map. What is in it is judged by whoever asked.
func (rq *request) checkInputs() *mcp.Error {
	if r := rq.m.InputResponses; r != nil && r[0] != '{' {
		return mcp.Errorf(mcp.CodeInvalidParams, "params.inputResponses must be an object")
	}
	return nil
}

// appendInputRequired writes the members of a target's own result that asks for input, and refuses to ask for what the
// client has not declared.
func (rq *request) appendInputRequired(more []byte, to route, r *mcp.Result) ([]byte, *mcp.Error) {
	bad := mcp.Errorf(codeTrouble, "The server %q asked for input in a way that is not valid MCP.", to.to.Name())
	switch rq.m.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead:
	default:
		return nil, bad
	}
	var needed mcp.ClientCapabilities
	valid := true
	mcp.EachMember(r.InputRequests(), func(_, _, value []byte) {
		method, _ := mcp.LookupString(value, "method")
		params, _ := mcp.Lookup(value, "params")
		n, ok := mcp.NeededToAsk(method, params)
		needed, valid = needed.Merge(n), valid && ok
	})
	target, stated := mcp.DecodeString(r.RequestState())
	switch {
	case !valid || r.InputRequests() == nil && !stated:
		return nil, bad
	case !mcp.ParseClientCapabilities(rq.m.Capabilities).Have(needed):
		return nil, missingCapability(needed)
	case !stated:
		return more, nil
	}
	return rq.appendState(more, to, state{stateTarget, target}), nil
}

// appendState writes a requestState behind other members.
func (rq *request) appendState(dst []byte, to route, s state) []byte {
	return mcp.AppendString(append(dst, `,"requestState":`...), rq.sealState(to, s))
}

// missingCapability says what a call needs of its client (2026-07-28 basic, error codes).
func missingCapability(needed mcp.ClientCapabilities) *mcp.Error {
	what := needed.AppendJSON(nil)
	e := mcp.Errorf(mcp.CodeMissingCapability, "The call needs a capability that the client did not declare: %s", what)
	e.Data = append(append([]byte(`{"requiredCapabilities":`), what...), '}')
	return e
}

// asking is one question in a result.
type asking struct {
	key, method string
	params      []byte // raw JSON, may be nil
}

// inputRequired is a result that asks.
func (rq *request) inputRequired(to route, questions []asking, s state) []byte {
	r := []byte(`{"resultType":"` + mcp.ResultInputRequired + `","inputRequests":{`)
	for i, q := range questions {
		if i > 0 {
			r = append(r, ',')
		}
		r = append(mcp.AppendString(r, q.key), `:{"method":`...)
		r = append(mcp.AppendString(r, q.method), `,"params":`...)
		r = append(appendStatelessParams(r, q.params), '}')
	}
	r = append(rq.appendState(append(r, '}'), to, s), `,"_meta":{"`+mcp.MetaServerInfo+`":`...)
	return append(append(r, rq.g.serverInfo...), "}}"...)
}

// appendStatelessParams writes the params of a question without what the stateless era has given up: no progress is shown on
// it, no task of the session era is spoken of, and there is no id by which an elicitation at a URL is said to be complete.
func appendStatelessParams(dst, params []byte) []byte {
	var more []byte
	meta, _ := mcp.Lookup(params, "_meta")
	kept := mcp.AppendMembers([]byte(`"_meta":`), meta, mcp.Change{Drop: func(key []byte) bool {
		return string(key) == "progressToken" || string(key) == mcp.MetaRelatedTask
	}})
	if string(kept) != `"_meta":{}` {
		more = kept
	}
	return mcp.AppendMembers(dst, params, mcp.Change{More: more, Drop: func(key []byte) bool {
		return string(key) == "_meta" || string(key) == "elicitationId"
	}})
}

// maxVisits bounds the URLs that one error sends a person to.
const maxVisits = 16

// visits reads which URLs a target of the session era sends the person to in place of a result: the error with code
// -32042 (2025-11-25 client/elicitation). It is nil when the error does not say so.
func visits(e *mcp.Error) []asking {
	if e.Code != mcp.CodeURLElicitation {
		return nil
	}
	list, _ := mcp.Lookup(e.Data, "elicitations")
	var all []asking
	mcp.EachElement(list, func(params []byte) {
		if needed, _ := mcp.NeededToAsk(mcp.MethodElicit, params); needed.URL && len(all) < maxVisits {
			all = append(all, asking{"visit" + strconv.Itoa(len(all)+1), mcp.MethodElicit, bytes.Clone(params)})
		}
	})
	return all
}

// sendAway asks the client to take its person to URLs and to make the call again.
func (rq *request) sendAway(a *reply, to route, all []asking) string {
	if needed := (mcp.ClientCapabilities{URL: true}); !mcp.ParseClientCapabilities(rq.m.Capabilities).Have(needed) {
		a.error(missingCapability(needed))
		return "error"
	}
	a.result(rq.inputRequired(to, all, state{kind: stateVisit}))
	return "input required"
}

// returned prepares a call that is made again after the person was sent to a URL. It reports false when the person did
// not go; an answer that is missing counts as yes, because the target will ask again for what it still misses.
func (rq *request) returned() bool {
	went := true
	mcp.EachMember(rq.m.InputResponses, func(_, _, answer []byte) {
		if action, _ := mcp.LookupString(answer, "action"); slices.Contains([]string{"decline", "cancel"}, action) {
			went = false
		}
	})
	rq.m = rq.withoutInputs()
	return went
}

// withoutInputs is the call as it was made first.
func (rq *request) withoutInputs() mcp.Message {
	drop := func(key []byte) bool { return string(key) == "inputResponses" || string(key) == "requestState" }
	again, err := mcp.NewRequest(rq.m.Method, mcp.AppendMembers(nil, rq.m.Params, mcp.Change{Drop: drop}))
	if err != nil { // never: it has been decoded before
		return rq.m
	}
	again.ID = rq.m.ID
	return again
}
