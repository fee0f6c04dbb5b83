package gateway

import (
	"net/http"
	"sync"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
)

// maxBatch bounds the messages that come in one array.
const maxBatch = 64

// postBatch takes an array of messages, which one revision has (2025-03-26 basic/transports). Each goes through the
// steps of a message that comes alone. Nothing is executed before all of them were decided on, so that a refusal that
// takes an HTTP status, such as the challenge for a missing scope, is about the whole array.
func (rq *request) postBatch() error {
	if err := rq.checkRevision(rq.r.Header[headerRevision]); err != nil {
		return err
	}
	if err := rq.find(); err != nil {
		return err
	}
	defer rq.release()
	if !mcp.Batches(rq.s.Client().Revision) {
		_, err := mcp.Decode(*rq.body, mcp.Limits{}) // says why not
		return rq.undecoded(err)
	}
	messages, err := mcp.DecodeBatch(*rq.body, mcp.Limits{}, maxBatch)
	if err != nil {
		return rq.undecoded(err)
	}
	rq.noted.Text("mcp_method", "batch")
	rq.noted.Add("messages", len(messages))
	requests := 0
	for i := range messages {
		if len(messages[i].ID) > maxID {
			return rq.fault(mcp.Errorf(mcp.CodeInvalidRequest, "id is longer than %d bytes", maxID))
		}
		if messages[i].Kind == mcp.KindRequest {
			requests++
		}
	}
	rq.m = messages[0] // whose id names the stream
	b := &batch{}
	jobs, err := rq.planBatch(b, messages)
	if err != nil {
		return err
	}
	b.a = &answer{batch: true}
	b.a.open(rq, b, requests)
	defer b.a.close()
	if requests == 0 {
		rq.w.Header().Set("Content-Length", "0")
		rq.w.WriteHeader(http.StatusAccepted)
		_ = http.NewResponseController(rq.w).Flush() // the client does not wait for the targets
	}
	var wg sync.WaitGroup
	for _, p := range jobs {
		wg.Go(func() { p.rq.do(p.todo) })
	}
	wg.Wait()
	return errAnswered
}

// planned is one message of a batch and what is left to do for it.
type planned struct {
	rq   *request
	todo job
}

// planBatch plans all messages, or drops what it planned when one of them is refused.
func (rq *request) planBatch(b *batch, messages []mcp.Message) ([]planned, error) {
	jobs := make([]planned, 0, len(messages))
	for i := range messages {
		one := *rq
		one.m, one.body, one.pinned, one.to = messages[i], nil, nil, b
		todo, err := one.planInBatch()
		if err != nil {
			for _, p := range jobs {
				p.rq.leavePlace()
			}
			return nil, err
		}
		jobs = append(jobs, planned{&one, todo})
	}
	return jobs, nil
}

func (rq *request) planInBatch() (job, error) {
	if rq.m.Kind == mcp.KindRequest && rq.m.Method == mcp.MethodInitialize {
		return func() error {
			return rq.failure(mcp.Errorf(mcp.CodeInvalidRequest, "initialize cannot be part of a batch"))
		}, nil
	}
	return rq.plan()
}

// batch is the carrier of the requests of one array: they share an HTTP answer.
type batch struct {
	a *answer // set before any request runs

	mu        sync.Mutex // guards what follows
	calls     []session.Canceler
	cancelled error
}

func (b *batch) put(_ *request, write func(dst []byte) []byte) { b.a.finish(write, nil) }

func (b *batch) begin(rq *request, call session.Canceler) answerer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancelled != nil {
		call.Cancel(b.cancelled)
	}
	b.calls = append(b.calls, call)
	return &part{b.a, rq}
}

// Cancel ends all calls of the batch.
func (b *batch) Cancel(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancelled = cause
	for _, call := range b.calls {
		call.Cancel(cause)
	}
}

// part is the answer to one call of a batch.
type part struct {
	*answer
	own *request
}

func (p *part) result(result []byte) {
	p.finish(func(dst []byte) []byte { return mcp.AppendResult(dst, p.own.m.ID, result) }, nil)
}

func (p *part) error(e *mcp.Error) {
	p.own.noted.Add("rpc_error", e.Code)
	p.finish(func(dst []byte) []byte { return mcp.AppendError(dst, p.own.m.ID, e) }, nil)
}

// close leaves the answer to the other parts.
func (p *part) close() {}
