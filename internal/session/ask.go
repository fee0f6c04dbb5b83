package session

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	"gatehouse/internal/mcp"
)

// maxAsks bounds the requests that wait for one client at a time.
const maxAsks = 64

// ErrTooManyAsks means that the client has too many questions open already.
var ErrTooManyAsks = errors.New("too many requests wait for this client's answer")

type answer struct {
	result []byte
	err    *mcp.Error
}

// Ask sends the client a request over st and waits for its answer, which arrives by Answer. The id is minted here. When
// ctx ends first, the client is told that nobody waits any more.
func (s *Session) Ask(ctx context.Context, st *Stream, method string, params []byte) ([]byte, *mcp.Error, error) {
	id, wait, err := s.beginAsk()
	if err != nil {
		return nil, nil, err
	}
	defer s.endAsk(id)
	st.Send(mcp.AppendRequest(nil, []byte(id), method, params))
	select {
	case a := <-wait:
		return a.result, a.err, nil
	case <-s.done:
		return nil, nil, ErrEnded
	case <-ctx.Done():
		st.Send(mcp.AppendNotification(nil, mcp.NoteCancelled, []byte(`{"requestId":`+id+`}`)))
		return nil, nil, context.Cause(ctx)
	}
}

// Answer hands a response of the client to whoever asked. It reports whether anybody did.
func (s *Session) Answer(m *mcp.Message) bool {
	s.mu.Lock()
	wait, ok := s.asks[string(m.ID)]
	delete(s.asks, string(m.ID))
	s.mu.Unlock()
	if !ok {
		return false
	}
	wait <- newAnswer(m)
	return true
}

// newAnswer copies what the client said, because the message aliases a request's body.
func newAnswer(m *mcp.Message) answer {
	if m.Error == nil {
		return answer{result: bytes.Clone(m.Result)}
	}
	e, err := mcp.ParseError(bytes.Clone(m.Error))
	if err != nil {
		e = mcp.Errorf(mcp.CodeInternal, "the client answered with an error that is not a JSON-RPC error")
	}
	return answer{err: e}
}

func (s *Session) beginAsk() (id string, wait chan answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", nil, ErrEnded
	}
	if len(s.asks) >= maxAsks {
		return "", nil, ErrTooManyAsks
	}
	s.lastAsk++
	id, wait = strconv.FormatUint(s.lastAsk, 10), make(chan answer, 1)
	s.asks[id] = wait
	return id, wait, nil
}

func (s *Session) endAsk(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asks, id)
}
