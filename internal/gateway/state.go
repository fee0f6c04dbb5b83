package gateway

import (
	"crypto/sha256"
	"encoding/binary"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
)

// StatePurpose is the seal purpose of requestState.
const StatePurpose = "request-state"

// A requestState is sealed here, so that it comes back unchanged, from the same person, for the same call to the same
// target, and in time (2026-07-28 basic/patterns/mrtr, server requirements). It holds what the kind of it says.
type stateKind byte

const (
	stateNone    stateKind = 0
	stateTarget  stateKind = 'T' // the target's own state, which goes back to it
	stateWaiting stateKind = 'W' // the call waits at its target: which place it has in which copy
	stateVisit   stateKind = 'V' // the person was sent to a URL: the call is to be made again
)

// state is an opened requestState.
type state struct {
	kind stateKind
	held string
}

// sealState writes a requestState for this call.
func (rq *request) sealState(to route, s state) string {
	b := binary.BigEndian.AppendUint64([]byte{byte(s.kind)}, uint64(rq.g.o.Now().Add(rq.g.o.AnswerWait).Unix()))
	return rq.g.o.State.SealString(append(b, s.held...), rq.stateBound(to))
}

// openState opens the requestState that the client brings back.
func (rq *request) openState(to route) (state, *mcp.Error) {
	if rq.m.RequestState == nil {
		return state{}, nil
	}
	const head = 1 + 8
	if sealed, ok := mcp.DecodeString(rq.m.RequestState); ok {
		plain, err := rq.g.o.State.OpenString(sealed, rq.stateBound(to))
		if err == nil && len(plain) >= head && rq.g.o.Now().Unix() <= int64(binary.BigEndian.Uint64(plain[1:])) {
			return state{stateKind(plain[0]), string(plain[head:])}, nil
		}
	}
	return state{}, mcp.Errorf(mcp.CodeInvalidParams, "Invalid requestState: it was altered, has expired, or belongs to another call")
}

// stateBound is the additional data of the seal: who calls what, where, with which arguments. None of the texts before
// the digest holds a NUL byte but the person, who has exactly one.
func (rq *request) stateBound(to route) []byte {
	arguments, _ := mcp.Lookup(rq.m.Params, "arguments")
	digest := sha256.Sum256(append([]byte(rq.m.Method+"\x00"+to.name+"\x00"), arguments...))
	b := []byte(rq.who.Key.String() + "\x00" + rq.ep.Path + "\x00" + to.to.Name() + "\x00")
	return append(b, digest[:]...)
}

// waiting is where a parked call waits.
type waiting struct {
	id    session.ParkID
	owner string // the copy
}

func (w waiting) state() state { return state{stateWaiting, string(w.id[:]) + w.owner} }

// waiting reads what waiting.state wrote.
func (s state) waiting() (w waiting) {
	w.owner = s.held[copy(w.id[:], s.held):]
	return w
}
