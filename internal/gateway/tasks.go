package gateway

import (
	"encoding/base64"
	"strings"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
)

// TaskPurpose is the MAC purpose of the handles of tasks.
const TaskPurpose = "task-handle"

// task is what a handle stands for. Clients get handles in place of the ids that targets give their tasks (SEP-2663 and
// the experimental tasks of 2025-11-25): a handle says whose task it is, at which target, and which tool began it, and is
// good for its person at its endpoint only. The target knows the gateway alone, so it cannot tell persons apart.
type task struct{ target, tool, id string }

// tagLength is how much of a MAC a handle has.
const tagLength = 16

// handle makes the handle of a task: the same one always.
func (g *Gateway) handle(who identity.PersonKey, endpoint string, t task) string {
	plain := t.target + "\x00" + t.tool + "\x00" + t.id
	tag := g.o.Tasks.Sum(boundTask(who, endpoint, plain))[:tagLength]
	return base64.RawURLEncoding.EncodeToString(append(tag, plain...))
}

// openHandle reads a handle of this person at this endpoint.
func (g *Gateway) openHandle(who identity.PersonKey, endpoint, handle string) (task, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil || len(raw) <= tagLength || strings.ContainsAny(handle, "\r\n") {
		return task{}, false
	}
	plain := string(raw[tagLength:])
	if !g.o.Tasks.CheckPart(boundTask(who, endpoint, plain), raw[:tagLength]) {
		return task{}, false
	}
	parts := strings.SplitN(plain, "\x00", 3)
	if len(parts) != 3 {
		return task{}, false
	}
	return task{parts[0], parts[1], parts[2]}, true
}

// boundTask is what the MAC is over. A person's key has one NUL byte, a path none.
func boundTask(who identity.PersonKey, endpoint, plain string) []byte {
	return []byte(who.String() + "\x00" + endpoint + "\x00" + plain)
}

// hasTasks reports whether a target may speak of tasks.
func (v *view) hasTasks(name string) bool {
	if v == nil {
		return false
	}
	c := v.offered[name]
	return c.Tasks != mcp.Tasks{} || c.HasExtension(mcp.ExtensionTasks)
}

// publicTask is the handle of a task that is mentioned in the answer to this request.
func (rq *request) publicTask(to route, id string) string {
	switch {
	case rq.m.Method == mcp.MethodToolsCall:
		handle := rq.g.handle(rq.who.Key, rq.ep.Path, task{to.to.Name(), to.name, id})
		rq.s.Remember(to.to.Name()+"\x00"+id, handle)
		return handle
	case rq.m.By == "taskId" && id == to.name:
		return rq.m.Name
	}
	return rq.g.knownTask(rq.s, to.to.Name(), id)
}

// ownTasks leaves those tasks in a list that its session has begun: the target may list everybody's.
func (rq *request) ownTasks(target string, result []byte) []byte {
	if rq.m.Method != mcp.MethodTasksList {
		return result
	}
	own := []byte(`"tasks":[`)
	listed, _ := mcp.Lookup(result, "tasks")
	mcp.EachElement(listed, func(item []byte) {
		if id, ok := mcp.LookupString(item, "taskId"); ok && isOwnTask(rq.s, target, id) {
			if own[len(own)-1] != '[' {
				own = append(own, ',')
			}
			own = append(own, item...)
		}
	})
	return mcp.AppendMembers(nil, result, mcp.Change{More: append(own, ']'), Drop: func(key []byte) bool { return string(key) == "tasks" }})
}

// isOwnTask reports whether a session has begun a task.
func isOwnTask(s *session.Session, target, id string) bool {
	return s.Remembered(target+"\x00"+id) != ""
}

// knownTask is the handle of a task that a session has heard of, else one that does not say which tool began it.
func (g *Gateway) knownTask(s *session.Session, target, id string) string {
	if handle := s.Remembered(target + "\x00" + id); handle != "" {
		return handle
	}
	return g.handle(s.Person, s.Endpoint, task{target: target, id: id})
}
