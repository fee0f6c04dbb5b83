package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"gatehouse/internal/mcp"
)

// httpCarrier is a connection to a server of the stateless era over HTTP (2026-07-28 basic/transports/streamable-http).
type httpCarrier struct {
	d      *httpDialer
	reader httpLink // reads answers; has no session
}

func (h *httpCarrier) head(method, name string) (int64, *header, *parcels) {
	return h.d.nextID(), h.d.named.get(h.d, method, name), &h.d.parcels
}

// namedHeaders keeps the headers of requests by their method and name, for they are the same each time. What is in it is
// only read.
type namedHeaders struct {
	mu  sync.Mutex
	all map[[2]string]*header
}

// Bounds of what is kept.
const (
	maxNamed     = 1024
	maxNameBytes = 128
)

func (n *namedHeaders) get(d *httpDialer, method, name string) *header {
	key := [2]string{method, name}
	n.mu.Lock()
	known := n.all[key]
	n.mu.Unlock()
	if known != nil {
		return known
	}
	h := d.header(http.MethodPost, 3)
	h["Mcp-Protocol-Version"], h["Mcp-Method"] = statelessRevision, []string{method}
	if name != "" {
		h["Mcp-Name"] = []string{mcp.EncodeHeader(name)}
	}
	if len(name) > maxNameBytes { // a URI that a client has put together, for one
		return &header{Header: h}
	}
	lasting := d.lastingHeader(h)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil || len(n.all) >= maxNamed {
		n.all = make(map[[2]string]*header)
	}
	n.all[key] = lasting
	return lasting
}

func (h *httpCarrier) end() {}

// listen answers with what the server said when it refused the stream.
func (h *httpCarrier) listen(ctx context.Context, r *request) (*mcp.Result, error) {
	resp, err := h.post(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return h.read(ctx, resp, r)
	}
	defer drain(resp)
	err = h.reader.refused(resp, r.id)
	if resp.StatusCode/100 == 4 {
		return nil, mcp.Errorf(mcp.CodeInternal, "%v", err)
	}
	return nil, err
}

func (h *httpCarrier) post(ctx context.Context, r *request) (*http.Response, error) {
	defer r.done()
	return h.d.send(ctx, http.MethodPost, h.d.url, r.header, r.toSend())
}

func (h *httpCarrier) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	resp, err := h.post(ctx, r)
	if err != nil {
		return nil, err
	}
	r.heard = true
	if resp.StatusCode == http.StatusOK {
		return h.read(ctx, resp, r)
	}
	defer drain(resp)
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
	default:
		return nil, h.reader.refused(resp, r.id)
	}
	body, m, said := readRefusal(resp)
	if said != nil && bytes.Equal(m.ID, r.id) && said.Code != mcp.CodeUnsupportedRevision {
		return nil, said
	}
	h.d.era.forget() // it has become a server of another era, and has not executed anything
	return nil, fmt.Errorf("%w: HTTP status %d: %.200q", errSessionGone, resp.StatusCode, body)
}

// read reads a response, from JSON or from a stream.
func (h *httpCarrier) read(ctx context.Context, resp *http.Response, r *request) (*mcp.Result, error) {
	switch mediaType(resp) {
	case "application/json":
		return h.reader.readJSON(resp, r)
	case "text/event-stream":
		came := r.came
		r.came = hearerFunc(func(m *mcp.Message) {
			if m.Kind == mcp.KindRequest { // there are none in this era, and no way to answer
				h.d.t.opt.Log.Warn("target sent a request on a stream of the stateless era", "method", m.Method)
				return
			}
			came.hear(m)
		})
		result, err := h.reader.readUntil(ctx, resp, r, &cursor{})
		if errors.Is(err, errStreamEnded) {
			err = h.d.t.trouble(Down, err)
		}
		return result, err
	}
	defer drain(resp)
	return nil, h.d.t.trouble(Rubbish, fmt.Errorf("content type %.100q", resp.Header.Get("Content-Type")))
}

// send has nothing to send: a request is cancelled by the end of its connection, and answers do not exist.
func (h *httpCarrier) send(context.Context, []byte) error { return nil }
