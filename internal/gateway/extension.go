package gateway

import (
	"slices"
	"strings"

	"gatehouse/internal/mcp"
)

// Methods that the protocol itself does not have go to a target that advertises an extension: one that we know, whose
// methods are known, or one that we do not know, which may have any. What the request names says which target is meant: a
// task, a resource, a tool or prompt; else the only target that it can be. See docs/adr/0023-extensions.md.

// maxMethod bounds the names of such methods, which the audit record keeps.
const maxMethod = 128

// owners lists the targets that may have the method of this request.
func (rq *request) owners(v *view) []string {
	if len(rq.m.Method) > maxMethod {
		return nil
	}
	var all []string
	for _, name := range v.table.Targets() {
		c := v.offered[name]
		if c.HasMethod(rq.m.Method) || rq.oldTasks() && c.Tasks.Has(rq.m.Method) {
			all = append(all, name)
		}
	}
	return all
}

// oldTasks reports whether the client may use the tasks of 2025-11-25.
func (rq *request) oldTasks() bool { return !rq.modern && rq.s.Client().Revision == mcp.Rev20251125 }

// extended reports whether a target may send notifications of an extension.
func (v *view) extended(name string) bool {
	if v == nil {
		return false
	}
	c := v.offered[name]
	return len(c.Extensions) > 0 || len(c.Experimental) > 0 || c.Tasks != mcp.Tasks{}
}

// ofExtension reports whether a notification belongs to none of the protocol's own.
func ofExtension(method string) bool {
	switch method {
	case mcp.NoteProgress, mcp.NoteMessage, mcp.NoteResourceUpdated, mcp.NoteElicitationComplete, mcp.NoteCancelled, mcp.NoteInitialized,
		mcp.NoteToolsChanged, mcp.NotePromptsChanged, mcp.NoteResourcesChanged, mcp.NoteRootsChanged, mcp.NoteAcknowledged:
		return false
	}
	return strings.HasPrefix(method, "notifications/")
}

// extension plans a request of a method that some targets may have.
func (rq *request) extension(v *view, owners []string) (job, error) {
	if list := walked(rq.m.Method); list != "" {
		return rq.walk(owners, list)
	}
	to, found := rq.resolveExtension(v, owners)
	return rq.callAt(to, found)
}

// resolveExtension finds the target of such a request.
func (rq *request) resolveExtension(v *view, owners []string) (route, bool) {
	to, found := route{}, false
	switch rq.m.By {
	case "taskId":
		to, found = rq.resolveTask()
		if found || ofTasks(rq.m.Method) {
			return to, found && slices.Contains(owners, to.to.Name())
		}
	case "uri":
		to, found = rq.resolveNamed(v, mcp.MethodResourcesRead)
		to.methods = []string{mcp.MethodResourcesRead, rq.m.Method}
	case "name":
		for _, method := range []string{mcp.MethodToolsCall, mcp.MethodPromptsGet} {
			if to, found = rq.resolveNamed(v, method); found && slices.Contains(owners, to.to.Name()) {
				to.methods = []string{method, rq.m.Method}
				break
			}
		}
	}
	if found && slices.Contains(owners, to.to.Name()) {
		return to, true
	}
	if len(owners) != 1 {
		return route{}, false
	}
	return route{to: rq.ep.targets[owners[0]], name: rq.m.Name, methods: soleMethods(rq.m.By, rq.m.Method)}, true
}

// soleMethods are the methods that the policy is asked about when a name is not one that we know.
func soleMethods(by, method string) []string {
	if by == "uri" {
		return []string{mcp.MethodResourcesRead, method}
	}
	return []string{method}
}

func (rq *request) resolveNamed(v *view, method string) (route, bool) {
	owner, ok := v.table.Resolve(method, rq.m.Name)
	if !ok {
		return route{}, false
	}
	return route{to: rq.ep.targets[owner.Target], name: owner.Name, alias: owner.Alias}, true
}

// ofTasks reports whether a method is one of either kind of tasks.
func ofTasks(method string) bool {
	extension, _ := mcp.ExtensionOf(method)
	return extension == mcp.ExtensionTasks || method == mcp.MethodTasksResult || method == mcp.MethodTasksList
}

// resolveTask finds the target of a task. Whoever may not use a tool any more may not use its tasks either.
func (rq *request) resolveTask() (route, bool) {
	t, ok := rq.g.openHandle(rq.who.Key, rq.ep.Path, rq.m.Name)
	if !ok || rq.ep.targets[t.target] == nil {
		return route{}, false
	}
	to := route{to: rq.ep.targets[t.target], name: t.id, subject: t.tool, methods: []string{rq.m.Method}}
	if t.tool != "" {
		to.methods = []string{mcp.MethodToolsCall, rq.m.Method}
	}
	return to, true
}

// declared refuses a request of the stateless era about tasks, when it does not declare them (SEP-2663, capability
// negotiation).
func (rq *request) declared() *mcp.Error {
	if extension, _ := mcp.ExtensionOf(rq.m.Method); extension == mcp.ExtensionTasks && !mcp.Declares(rq.m.Capabilities, extension) {
		return missingCapability(mcp.ClientCapabilities{Extensions: `{"` + mcp.ExtensionTasks + `":{}}`})
	}
	return nil
}
