package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"gatehouse/internal/audit"
	"gatehouse/internal/mcp"
	"gatehouse/internal/web"
)

// Lists of extensions are not in a catalogue, because what is in them may depend on who asks. They are read target by
// target: each page is one target's, and the cursor says where to go on.

// walked is the member of the result that holds the list, for methods that list; empty for others.
func walked(method string) string {
	switch method {
	case mcp.MethodSkillsList:
		return "skills"
	case mcp.MethodTasksList:
		return "tasks"
	}
	return ""
}

// walk plans the next page of such a list.
func (rq *request) walk(owners []string, member string) (job, error) {
	if err := rq.admit(rq.m.Method); err != nil {
		return job{}, err
	}
	at, cursor, said := rq.walkFrom(owners)
	if said != nil {
		return rq.says(said), nil
	}
	leave, err := rq.takePlaceAtTarget()
	if err != nil {
		return job{}, err
	}
	return job{drop: leave, run: func() error {
		defer leave()
		return rq.walkOn(owners[at:], cursor, member)
	}}, nil
}

// says is a job that answers with an error of ours.
func (rq *request) says(e *mcp.Error) job { return job{run: func() error { return rq.failure(e) }} }

// walkFrom reads where the page begins: at which target, and at which cursor of that.
func (rq *request) walkFrom(owners []string) (at int, cursor string, said *mcp.Error) {
	raw, ok := mcp.Lookup(rq.m.Params, "cursor")
	if !ok || string(raw) == "null" {
		return 0, "", nil
	}
	bad := mcp.Errorf(mcp.CodeInvalidParams, "Invalid cursor")
	text, _ := mcp.DecodeString(raw)
	plain, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return 0, "", bad
	}
	target, own, ok := strings.Cut(string(plain), "\x00")
	if at = slices.Index(owners, target); !ok || at < 0 {
		return 0, "", bad
	}
	return at, own, nil
}

func walkCursor(target, own string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(target + "\x00" + own))
}

// walkOn answers with the page of the first of the targets that gives one. One in trouble is left out.
func (rq *request) walkOn(owners []string, cursor, member string) error {
	for i, name := range owners {
		to := route{to: rq.ep.targets[name], methods: []string{rq.m.Method}}
		if !rq.judge(to).Allow {
			continue
		}
		began := rq.g.o.Now()
		result, err := rq.page(to, cursor)
		event := audit.Event{Kind: audit.KindCall, Method: rq.m.Method, Target: name, Decision: audit.Allow, Outcome: "ok", Duration: rq.g.o.Now().Sub(began)}
		if err != nil {
			event.Outcome = "trouble"
			web.Note(rq.r.Context(), "error", err.Error())
		}
		_ = rq.record(event) // noted in the request's log record
		if said, ok := errors.AsType[*mcp.Error](err); ok && cursor != "" && said.Code == mcp.CodeInvalidParams {
			return rq.failure(said)
		}
		cursor = ""
		if err != nil {
			continue
		}
		next := ""
		if own, _ := mcp.LookupString(result, "nextCursor"); own != "" {
			next = walkCursor(name, own)
		} else if i+1 < len(owners) {
			next = walkCursor(owners[i+1], "")
		}
		return rq.walked(to, result, next)
	}
	return rq.walked(route{}, []byte(`{"`+member+`":[]}`), "")
}

// page reads a page of one target.
func (rq *request) page(to route, cursor string) ([]byte, error) {
	ctx := rq.r.Context()
	if !rq.modern {
		ctx = context.WithoutCancel(ctx) // as for every call in a session
	}
	up, err := rq.upstream(ctx, to.to)
	if err != nil {
		return nil, err
	}
	change := mcp.Change{Drop: func(key []byte) bool { return string(key) == "cursor" }}
	if cursor != "" {
		change.More = mcp.AppendString([]byte(`"cursor":`), cursor)
	}
	params := rq.m.Params
	if params == nil {
		params = []byte("{}")
	}
	m, err := mcp.NewRequest(rq.m.Method, mcp.AppendMembers(nil, params, change))
	if err != nil {
		return nil, err
	}
	return up.Forward(ctx, &m, "", nil)
}

// walked answers with a page under our own cursor.
func (rq *request) walked(to route, result []byte, next string) error {
	change := mcp.Change{Drop: func(key []byte) bool { return string(key) == "nextCursor" }}
	if next != "" {
		change.More = mcp.AppendString([]byte(`"nextCursor":`), next)
	}
	result = mcp.AppendMembers(nil, result, change)
	if to.to != nil {
		result = rq.public(to, rq.ownTasks(to.to.Name(), result))
	}
	if !rq.modern {
		return rq.result(result)
	}
	dressed, _, said := rq.dress(to, result)
	if said != nil {
		return rq.failure(said)
	}
	return rq.result(dressed)
}
