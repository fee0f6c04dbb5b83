package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// request is what tools and prompts share when they ask the client something.
type request interface {
	ProtocolVersion() string
	ClientCapabilities() *mcp.ClientCapabilities
}

func isStateless(r request) bool { return r.ProtocolVersion() >= stateless }

// round is one call of a fixture that asks: what it asks, what the client has answered so far.
type round struct {
	ctx       context
	stateless bool
	session   *mcp.ServerSession
	given     mcp.InputResponseMap
}

func toolRound(ctx context, r *mcp.CallToolRequest) *round {
	return &round{ctx, isStateless(r), r.Session, r.Params.InputResponses}
}

// ask returns the client's answers. Those that are missing come back as requests, to be put into the result; within a
// session there are none, because the client is asked at once, side by side.
func (r *round) ask(questions mcp.InputRequestMap) (answers mcp.InputResponseMap, missing mcp.InputRequestMap, err error) {
	answers = mcp.InputResponseMap{}
	if r.stateless {
		missing = mcp.InputRequestMap{}
		for key, q := range questions {
			if a := r.given[key]; fits(q, a) {
				answers[key] = a
			} else {
				missing[key] = q
			}
		}
		return answers, missing, nil
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards answers and err
	for key, q := range questions {
		wg.Go(func() {
			a, askErr := r.askNow(q)
			mu.Lock()
			defer mu.Unlock()
			answers[key], err = a, errors.Join(err, askErr)
		})
	}
	wg.Wait()
	return answers, nil, err
}

// fits reports whether an answer is one to this question.
func fits(q mcp.InputRequest, a mcp.InputResponse) bool {
	switch q.(type) {
	case *mcp.ElicitParams:
		e, ok := a.(*mcp.ElicitResult)
		return ok && e != nil && e.Action != ""
	case *mcp.CreateMessageParams:
		return sampled(a) != ""
	}
	roots, ok := a.(*mcp.ListRootsResult)
	return ok && roots != nil
}

// sampled returns what the client's model said.
func sampled(a mcp.InputResponse) string {
	switch a := a.(type) {
	case *mcp.CreateMessageResult:
		return textOf(a.Content)
	case *mcp.CreateMessageWithToolsResult:
		if len(a.Content) > 0 {
			return textOf(a.Content[0])
		}
	}
	return ""
}

func (r *round) askNow(q mcp.InputRequest) (mcp.InputResponse, error) {
	switch q := q.(type) {
	case *mcp.ElicitParams:
		return r.session.Elicit(r.ctx, q)
	case *mcp.CreateMessageParams:
		return r.session.CreateMessage(r.ctx, q)
	case *mcp.ListRootsParams:
		return r.session.ListRoots(r.ctx, q)
	}
	return nil, errors.New("not a question")
}

// states seals requestState, so that what comes back is known to be ours.
type states struct{ key []byte }

func newStates() *states {
	s := &states{make([]byte, 32)}
	rand.Read(s.key)
	return s
}

func (s *states) seal(text string) string { return text + "." + s.tag(text) }

func (s *states) tag(text string) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// open returns what was sealed; an empty state is none yet.
func (s *states) open(state string) (string, error) {
	if state == "" {
		return "", nil
	}
	i := strings.LastIndexByte(state, '.')
	if i < 0 || !hmac.Equal([]byte(s.tag(state[:i])), []byte(state[i+1:])) {
		return "", &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "requestState was altered"}
	}
	return state[:i], nil
}
