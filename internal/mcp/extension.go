package mcp

import (
	"slices"
	"strings"
)

// Extensions that a gateway knows by name (2026-07-28 extensions; SEP-2663, SEP-1865, SEP-2640).
const (
	ExtensionTasks  = "io.modelcontextprotocol/tasks"
	ExtensionApps   = "io.modelcontextprotocol/ui"
	ExtensionSkills = "io.modelcontextprotocol/skills"
)

// Methods of these extensions. The tasks of 2025-11-25 have the same names and two more.
const (
	MethodTasksGet      = "tasks/get"
	MethodTasksUpdate   = "tasks/update"
	MethodTasksCancel   = "tasks/cancel"
	MethodTasksList     = "tasks/list"   // 2025-11-25 only
	MethodTasksResult   = "tasks/result" // 2025-11-25 only
	MethodSkillsList    = "skills/list"
	MethodSkillsGet     = "skills/get"
	MethodDirectoryRead = "resources/directory/read"

	NoteTask       = "notifications/tasks"
	NoteTaskStatus = "notifications/tasks/status" // 2025-11-25

	MetaRelatedTask = "io.modelcontextprotocol/related-task" // 2025-11-25

	ResultTask = "task" // resultType
)

// ExtensionOf returns the extension that a method belongs to, of those that we know.
func ExtensionOf(method string) (extension string, known bool) {
	switch method {
	case MethodTasksGet, MethodTasksUpdate, MethodTasksCancel:
		return ExtensionTasks, true
	case MethodSkillsList, MethodSkillsGet, MethodDirectoryRead:
		return ExtensionSkills, true
	}
	return "", false
}

// closed are extensions whose methods we know all: no other method belongs to them.
func closed(extension string) bool {
	return extension == ExtensionTasks || extension == ExtensionApps || extension == ExtensionSkills
}

// OwnMethod reports whether a method belongs to the protocol itself in some revision, in either direction, so that no
// extension can have it.
func OwnMethod(method string) bool {
	switch method {
	case MethodInitialize, MethodPing, MethodToolsList, MethodToolsCall, MethodPromptsList, MethodPromptsGet, MethodResourcesList,
		MethodTemplatesList, MethodResourcesRead, MethodSubscribe, MethodUnsubscribe, MethodComplete, MethodSetLevel, MethodDiscover,
		MethodListen, MethodSampling, MethodElicit, MethodRootsList, MethodTasksList, MethodTasksResult:
		return true
	}
	return strings.HasPrefix(method, "notifications/")
}

// betweenNeighbours reports whether an extension is about the two sides of one connection, so that it must not be
// relayed: the ways to authorize.
func betweenNeighbours(extension string) bool {
	name, official := strings.CutPrefix(extension, "io.modelcontextprotocol/")
	if !official {
		return false
	}
	switch name {
	case "enterprise-managed-authorization", "oauth-client-credentials", "dpop", "wif", "workload-identity-federation", "server-identity":
		return true
	}
	return strings.HasPrefix(name, "oauth-") || strings.HasPrefix(name, "auth-")
}

// Extension is one member of capabilities.extensions or capabilities.experimental.
type Extension struct {
	Name     string
	Settings []byte // raw JSON
}

// Bounds of what is relayed of extensions: both sides can make them up.
const (
	maxExtensions     = 64
	maxExtensionBytes = 16 << 10
)

// extensions reads an object of extensions, in the order of their names, without those between neighbours.
func extensions(raw []byte) []Extension {
	var all []Extension
	size := 0
	EachMember(raw, func(key, _, value []byte) {
		name := string(key)
		if size += len(key) + len(value); size > maxExtensionBytes || len(all) == maxExtensions || betweenNeighbours(name) {
			return
		}
		all = append(all, Extension{name, value})
	})
	slices.SortFunc(all, func(a, b Extension) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// mergeExtensions joins two sorted lists; where both have a name, the first counts.
func mergeExtensions(a, b []Extension) []Extension {
	if len(b) == 0 {
		return a
	}
	out := slices.Clone(a)
	for _, e := range b {
		if i, there := slices.BinarySearchFunc(out, e.Name, byExtension); !there {
			out = slices.Insert(out, i, e)
		}
	}
	return out
}

func byExtension(e Extension, name string) int { return strings.Compare(e.Name, name) }

func hasExtension(all []Extension, name string) bool {
	_, there := slices.BinarySearchFunc(all, name, byExtension)
	return there
}

// appendExtensions writes an object of extensions.
func appendExtensions(dst []byte, all []Extension) []byte {
	dst = append(dst, '{')
	for i, e := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(AppendString(dst, e.Name), ':'), e.Settings...)
	}
	return append(dst, '}')
}

// Declares reports whether a client's capabilities name an extension.
func Declares(capabilities []byte, extension string) bool {
	list, _ := lookupObject(capabilities, "extensions")
	_, ok := Lookup(list, extension)
	return ok
}

// DeclaresAny reports whether a client's capabilities name some extension.
func DeclaresAny(capabilities []byte) bool {
	list, _ := lookupObject(capabilities, "extensions")
	return len(extensions(list)) > 0
}

// Tasks is capabilities.tasks of 2025-11-25.
type Tasks struct{ List, Cancel, Call bool }

func parseTasks(raw []byte) Tasks {
	v, ok := lookupObject(raw, "tasks")
	if !ok {
		return Tasks{}
	}
	var t Tasks
	_, t.List = lookupObject(v, "list")
	_, t.Cancel = lookupObject(v, "cancel")
	requests, _ := lookupObject(v, "requests")
	tools, _ := lookupObject(requests, "tools")
	_, t.Call = lookupObject(tools, "call")
	return t
}

func (t Tasks) merge(o Tasks) Tasks {
	return Tasks{t.List || o.List, t.Cancel || o.Cancel, t.Call || o.Call}
}

// Has reports whether a server that says this has a method.
func (t Tasks) Has(method string) bool {
	switch method {
	case MethodTasksGet, MethodTasksResult:
		return t != Tasks{}
	case MethodTasksList:
		return t.List
	case MethodTasksCancel:
		return t.Cancel
	}
	return false
}

func (t Tasks) appendJSON(dst []byte) []byte {
	dst = append(dst, `"tasks":{`...)
	if t.List {
		dst = append(dst, `"list":{},`...)
	}
	if t.Cancel {
		dst = append(dst, `"cancel":{},`...)
	}
	dst = append(dst, `"requests":{`...)
	if t.Call {
		dst = append(dst, `"tools":{"call":{}}`...)
	}
	return append(dst, "}}"...)
}

// HasMethod reports whether a server that offers this may have a method that the protocol itself does not have: one of an
// extension that we know, or any when it offers an extension that we do not know.
func (c *Capabilities) HasMethod(method string) bool {
	if extension, known := ExtensionOf(method); known {
		return hasExtension(c.Extensions, extension)
	}
	if OwnMethod(method) {
		return false
	}
	return len(c.Experimental) > 0 || slices.ContainsFunc(c.Extensions, func(e Extension) bool { return !closed(e.Name) })
}

// HasExtension reports whether an extension is offered.
func (c *Capabilities) HasExtension(name string) bool { return hasExtension(c.Extensions, name) }

// SkillFiles returns the URIs that a result of skills/list names, of the skills and of their files, and the next cursor.
func SkillFiles(result []byte) (uris []string, next string) {
	add := func(item []byte) {
		if uri, _ := LookupString(item, "uri"); uri != "" {
			uris = append(uris, uri)
		}
	}
	skills, _ := Lookup(result, "skills")
	EachElement(skills, func(skill []byte) {
		add(skill)
		if files, ok := Lookup(skill, "resources"); ok && files[0] == '[' {
			EachElement(files, add)
		}
	})
	next, _ = LookupString(result, "nextCursor")
	return uris, next
}
