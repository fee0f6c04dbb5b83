package gateway

import (
	"gatehouse/internal/mcp"
)

// What a target says names things by the target's own names: URIs that other targets may have as well, and tasks. Clients
// see others for them, wherever they stand.

// renaming says how this request's client sees what a target names in its answer.
func (rq *request) renaming(to route) mcp.Renaming {
	v := rq.ep.latest()
	if v == nil || v.plain {
		return mcp.Renaming{}
	}
	r := v.renaming(to.to.Name())
	if v.hasTasks(to.to.Name()) {
		r.Task = func(id string) string { return rq.publicTask(to, id) }
	}
	return r
}

// public puts a target's answer as the client sees it.
func (rq *request) public(to route, result []byte) []byte { return rq.renaming(to).Apply(result) }

// notes hands on what a target sends along with a call. Those of extensions go to also; nil leaves them out.
func (rq *request) notes(to route, tell func(*mcp.Message), also outbox) func(*mcp.Message) {
	v := rq.ep.latest()
	if v == nil || v.plain {
		return tell
	}
	extended := also != nil && v.extended(to.to.Name())
	r := rq.renaming(to)
	return func(m *mcp.Message) {
		m = renamed(r, m)
		if extended && ofExtension(m.Method) {
			also.send(mcp.AppendNotification(nil, m.Method, m.Params))
			return
		}
		tell(m)
	}
}

// renamed is a message that a target sends on its own, as its client sees it.
func renamed(r mcp.Renaming, m *mcp.Message) *mcp.Message {
	if r.URI == nil && r.Task == nil {
		return m
	}
	if m.Method == mcp.NoteResourceUpdated && r.URI != nil {
		own := m.Edited(mcp.Edit{Name: r.URI(m.Name)})
		m = &own
	}
	params := r.Apply(m.Params)
	if len(params) == len(m.Params) { // a mark makes longer, and so does a handle
		return m
	}
	own, err := mcp.NewRequest(m.Method, params)
	if err != nil {
		return m
	}
	own.Kind, own.ID = m.Kind, m.ID
	return &own
}
