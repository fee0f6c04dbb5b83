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
	if found {
		found = rq.beside(v, &to)
	}
	return rq.callAt(to, found)
}

// beside looks at what such a request names beside that by which its target was found, since nobody knows what the target
// goes by: a tool or prompt there is asked about too, and a task's id that is no handle makes the request one for nothing.
func (rq *request) beside(v *view, to *route) bool {
	if ofTasks(rq.m.Method) {
		return true
	}
	owner := to.to.Name()
	if name, ok := mcp.LookupString(rq.m.Params, "name"); ok && rq.m.By != "name" {
		for _, method := range usesOf(v, owner, name) {
			to.also = append(to.also, use{method, name, v.alias(owner, name)})
		}
	}
	_, task := mcp.Lookup(rq.m.Params, "taskId")
	return !task || rq.m.By == "taskId" || !v.hasTasks(owner)
}

// alias is the second name of a target's tool, if it has one.
func (v *view) alias(target, tool string) string {
	public, ok := v.table.Public(mcp.Tools, target, tool)
	if !ok {
		return ""
	}
	owner, _ := v.table.Resolve(mcp.MethodToolsCall, public)
	return owner.Alias
}

// resolveExtension finds the target of such a request.
func (rq *request) resolveExtension(v *view, owners []string) (route, bool) {
	to, found := route{}, false
	if ofTasks(rq.m.Method) && rq.m.By != "taskId" { // an id that is no text would go to the target as it is
		return to, false
	}
	switch rq.m.By {
	case "taskId":
		to, found = rq.resolveTask(v)
		if found || ofTasks(rq.m.Method) {
			return to, found && slices.Contains(owners, to.to.Name())
		}
	case "uri":
		to, found = rq.resolveNamed(v, mcp.MethodResourcesRead)
		to.methods = []string{mcp.MethodResourcesRead, rq.m.Method}
	case "name":
		for _, method := range []string{mcp.MethodToolsCall, mcp.MethodPromptsGet} {
			if to, found = rq.resolveNamed(v, method); found && slices.Contains(owners, to.to.Name()) {
				to.methods = append(usesOf(v, to.to.Name(), to.name), rq.m.Method)
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
	return rq.resolveSole(v, owners[0])
}

// resolveSole takes a request to the only target that can have its method, when nothing that it names is one that we know
// by a public name.
func (rq *request) resolveSole(v *view, owner string) (route, bool) {
	to := route{to: rq.ep.targets[owner], name: rq.m.Name}
	switch rq.m.By {
	case "uri":
		to.methods = []string{mcp.MethodResourcesRead}
	case "name": // the target may know its tools by their own names here too
		to.methods, to.alias = usesOf(v, owner, rq.m.Name), v.alias(owner, rq.m.Name)
	}
	to.methods = append(to.methods, rq.m.Method)
	// Clients know tasks by their handles only. What a target calls them is not for guessing, in whatever method.
	return to, rq.m.By != "taskId" || !v.hasTasks(owner)
}

// usesOf are the methods by which a thing of a target is used, of which there may be a tool and a prompt.
func usesOf(v *view, target, name string) []string {
	var methods []string
	if _, ok := v.table.Public(mcp.Tools, target, name); ok {
		methods = append(methods, mcp.MethodToolsCall)
	}
	if _, ok := v.table.Public(mcp.Prompts, target, name); ok {
		methods = append(methods, mcp.MethodPromptsGet)
	}
	if v.known[target] == nil { // it may have either
		methods = append(methods, mcp.MethodToolsCall, mcp.MethodPromptsGet)
	}
	return methods
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
func (rq *request) resolveTask(v *view) (route, bool) {
	t, ok := rq.g.openHandle(rq.who.Key, rq.ep.Path, rq.m.Name)
	if !ok || rq.ep.targets[t.target] == nil {
		return route{}, false
	}
	to := route{to: rq.ep.targets[t.target], name: t.id, subject: t.tool, methods: []string{rq.m.Method}}
	if t.tool != "" {
		to.methods, to.alias = []string{mcp.MethodToolsCall, rq.m.Method}, v.alias(t.target, t.tool)
	}
	return to, true
}

// declared refuses a request of the stateless era about tasks, when it does not declare them (SEP-2663, capability
// negotiation).
func (rq *request) declared() *mcp.Error {
	if extension, _ := mcp.ExtensionOf(rq.m.Method); extension == mcp.ExtensionTasks && !mcp.Declares(rq.m.Capabilities, extension) {
		return missingTasks()
	}
	return nil
}

// missingTasks says that a client must declare tasks.
func missingTasks() *mcp.Error {
	return missingCapability(mcp.ClientCapabilities{Extensions: `{"` + mcp.ExtensionTasks + `":{}}`})
}
