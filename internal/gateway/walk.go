package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/mcp"
)

// Lists of extensions are not in a catalogue, because what is in them may depend on who asks. They are read target by
// target when somebody asks, and the cursor says where to go on.

// Bounds of one page.
const (
	maxWalkBytes = 1 << 20 // then the next target's list is another page
	walkWait     = 10 * time.Second
)

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
		return nil, err
	}
	at, cursor, said := rq.walkFrom(owners)
	if said != nil {
		return rq.says(said), nil
	}
	if err := rq.takePlaceAtTarget(); err != nil {
		return nil, err
	}
	return func() error {
		defer rq.leavePlace()
		return rq.walkOn(owners[at:], cursor, member)
	}, nil
}

// says is a job that answers with an error of ours.
func (rq *request) says(e *mcp.Error) job { return func() error { return rq.failure(e) } }

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

// joined is what several targets have in one list.
type joined struct {
	member string
	items  []byte // without brackets
	pages  int
	sole   []byte // the only page, as it came
	ttl    int64  // negative when nobody says one
}

func (j *joined) add(result []byte) {
	j.pages++
	j.sole = result
	if raw, said := mcp.Lookup(result, "ttlMs"); said {
		if ttl := mcp.Milliseconds(raw); j.ttl < 0 || ttl < j.ttl {
			j.ttl = ttl
		}
	}
	list, _ := mcp.Lookup(result, j.member)
	mcp.EachElement(list, func(item []byte) {
		if len(j.items) > 0 {
			j.items = append(j.items, ',')
		}
		j.items = append(j.items, item...)
	})
}

// result is the list under a cursor of ours. What else a target says of its page is kept when the page is of one only.
func (j *joined) result(next string) []byte {
	change := mcp.Change{Drop: func(key []byte) bool { return string(key) == "nextCursor" }}
	if next != "" {
		change.More = mcp.AppendString([]byte(`"nextCursor":`), next)
	}
	if j.pages == 1 {
		return mcp.AppendMembers(nil, j.sole, change)
	}
	all := append(append([]byte(`{"`+j.member+`":[`), j.items...), ']')
	if j.ttl >= 0 {
		all = strconv.AppendInt(append(all, `,"ttlMs":`...), j.ttl, 10)
	}
	return mcp.AppendMembers(nil, append(all, '}'), change)
}

// walkOn answers with the lists of the targets, one after the other, until one has more pages. One in trouble is left out.
func (rq *request) walkOn(owners []string, cursor, member string) error {
	j := joined{member: member, ttl: -1}
	next := ""
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
			rq.noted.Text("error", err.Error())
		}
		_ = rq.record(event) // noted in the request's log record
		if said, ok := errors.AsType[*mcp.Error](err); ok && cursor != "" && said.Code == mcp.CodeInvalidParams {
			return rq.failure(said)
		}
		cursor = ""
		if err != nil {
			continue
		}
		j.add(rq.public(to, rq.ownTasks(name, result)))
		if own, _ := mcp.LookupString(result, "nextCursor"); own != "" {
			next = walkCursor(name, own)
			break
		}
		if len(j.items) > maxWalkBytes && i+1 < len(owners) {
			next = walkCursor(owners[i+1], "")
			break
		}
	}
	return rq.walked(j.result(next))
}

// page reads a page of one target.
func (rq *request) page(to route, cursor string) ([]byte, error) {
	ctx := rq.r.Context()
	if !rq.modern {
		ctx = context.WithoutCancel(ctx) // as for every call in a session
	}
	ctx, cancel := context.WithTimeout(ctx, walkWait)
	defer cancel()
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
	result, err := up.Forward(ctx, &m, "", nil)
	if err != nil {
		return nil, err
	}
	if !result.Valid || result.Type != "" && result.Type != mcp.ResultComplete {
		return nil, errNoPage
	}
	return result.Raw, nil
}

var errNoPage = errors.New("the result is not a page of a list")

// walked answers with such a list.
func (rq *request) walked(result []byte) error {
	if !rq.modern {
		return rq.result(result)
	}
	dressed, _, said := rq.dress(nil, route{}, mcp.ParseResult(result))
	if said != nil {
		return rq.failure(said)
	}
	return rq.result(bytes.Join(dressed, nil))
}
