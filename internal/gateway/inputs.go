package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"gatehouse/internal/mcp"
)

// StatePurpose is the seal purpose of requestState.
const StatePurpose = "request-state"

// stateLife is how long a client may take to answer what a target asks.
const stateLife = 15 * time.Minute

// A requestState that a target gives its client is sealed here, so that it comes back unchanged, from the same person,
// for the same call to the same target, and in time (2026-07-28 basic/patterns/mrtr, server requirements).

// appendInputRequired writes the members of a result that asks for input, and refuses to ask for what the client has
// not declared.
func (rq *request) appendInputRequired(more []byte, to route, r *mcp.Result) ([]byte, *mcp.Error) {
	can := mcp.ParseClientCapabilities(rq.m.Capabilities)
	missing := ""
	mcp.EachMember(r.InputRequests, func(_, _, value []byte) {
		if method, _ := mcp.LookupString(value, "method"); !can.Allows(method) {
			missing = capabilityOf(method)
		}
	})
	if missing != "" {
		e := mcp.Errorf(mcp.CodeMissingCapability, "The call needs a capability that the client did not declare: %s", missing)
		e.Data = append(mcp.AppendString([]byte(`{"requiredCapabilities":{`), missing), `:{}}}`...)
		return nil, e
	}
	state, ok := mcp.DecodeString(r.RequestState)
	if !ok {
		return more, nil
	}
	more = append(more, `,"requestState":`...)
	return mcp.AppendString(more, rq.g.o.State.SealString(rq.statePlain(state), rq.stateBound(to))), nil
}

func capabilityOf(method string) string {
	switch method {
	case mcp.MethodSampling:
		return "sampling"
	case mcp.MethodRootsList:
		return "roots"
	}
	return "elicitation"
}

// openState puts the target's own state in place of the sealed one that the client brings back.
func (rq *request) openState(to route) *mcp.Error {
	if rq.m.RequestState == nil {
		return nil
	}
	bad := mcp.Errorf(mcp.CodeInvalidParams, "Invalid requestState: it was altered, has expired, or belongs to another call")
	sealed, ok := mcp.DecodeString(rq.m.RequestState)
	if !ok {
		return bad
	}
	plain, err := rq.g.o.State.OpenString(sealed, rq.stateBound(to))
	if err != nil || len(plain) < 8 || rq.g.o.Now().Unix() > int64(binary.BigEndian.Uint64(plain)) {
		return bad
	}
	rq.m = rq.m.Edited(mcp.Edit{RequestState: mcp.AppendString(nil, string(plain[8:]))})
	return nil
}

func (rq *request) statePlain(state string) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(rq.g.o.Now().Add(stateLife).Unix()))
	return append(b, state...)
}

// stateBound is the additional data of the seal: who calls what, where, with which arguments. None of the texts before
// the digest holds a NUL byte but the person, who has exactly one.
func (rq *request) stateBound(to route) []byte {
	arguments, _ := mcp.Lookup(rq.m.Params, "arguments")
	digest := sha256.Sum256(append([]byte(rq.m.Method+"\x00"+to.name+"\x00"), arguments...))
	b := []byte(rq.who.Key.String() + "\x00" + rq.ep.Path + "\x00" + to.to.Name() + "\x00")
	return append(b, digest[:]...)
}
