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

// Question is a request of a target to the client.
type Question struct {
	Message  *mcp.Message
	Send     func(raw []byte)     // brings a message to the client
	Progress func(m *mcp.Message) // gets the client's progress notifications, under the target's own token
}

type ask struct {
	question Question
	answered chan answer
}

type answer struct {
	result []byte
	err    *mcp.Error
}

// Ask sends the client a request and waits for its answer, which arrives by Answer. Id and progress token are minted
// here. When ctx ends first, the client is told that nobody waits any more.
func (s *Session) Ask(ctx context.Context, q Question) ([]byte, *mcp.Error, error) {
	a := &ask{question: q, answered: make(chan answer, 1)}
	id, err := s.beginAsk(a)
	if err != nil {
		return nil, nil, err
	}
	defer s.endAsk(id)
	params := q.Message.AppendParams(nil, mcp.Edit{ProgressToken: []byte(id)})
	q.Send(mcp.AppendRequest(nil, []byte(id), q.Message.Method, params))
	select {
	case got := <-a.answered:
		return got.result, got.err, nil
	case <-s.done:
		return nil, nil, ErrEnded
	case <-ctx.Done():
		q.Send(mcp.AppendNotification(nil, mcp.NoteCancelled, []byte(`{"requestId":`+id+`}`)))
		return nil, nil, context.Cause(ctx)
	}
}

// Answer hands a response of the client to whoever asked. It reports whether anybody did.
func (s *Session) Answer(m *mcp.Message) bool {
	s.mu.Lock()
	a, ok := s.asks[string(m.ID)]
	delete(s.asks, string(m.ID))
	s.mu.Unlock()
	if ok {
		a.answered <- newAnswer(m)
	}
	return ok
}

// Progress hands a progress notification of the client to the target whose question it concerns.
func (s *Session) Progress(m *mcp.Message) {
	s.mu.Lock()
	a, ok := s.asks[string(m.ProgressToken)]
	s.mu.Unlock()
	if ok && a.question.Message.ProgressToken != nil && a.question.Progress != nil {
		own := m.Edited(mcp.Edit{ProgressToken: a.question.Message.ProgressToken})
		a.question.Progress(&own)
	}
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

func (s *Session) beginAsk(a *ask) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", ErrEnded
	}
	if len(s.asks) >= maxAsks {
		return "", ErrTooManyAsks
	}
	s.lastAsk++
	id = strconv.FormatUint(s.lastAsk, 10)
	s.asks[id] = a
	return id, nil
}

func (s *Session) endAsk(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asks, id)
}
