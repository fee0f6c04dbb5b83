package sandbox

import (
	"bytes"
	"path/filepath"
	"strings"
)

// mount is a place where a file system, or a part of one, can be seen.
type mount struct {
	device string // major:minor
	root   string // what of the file system is seen here
	point  string
}

// parseMounts reads /proc/self/mountinfo (proc_pid_mountinfo(5)). Lines that it cannot read are left out.
func parseMounts(text []byte) []mount {
	var all []mount
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 5 {
			continue
		}
		all = append(all, mount{fields[2], unescape(fields[3]), unescape(fields[4])})
	}
	return all
}

// unescape undoes the octal escapes of space, tab, line feed and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// aliases returns under which other paths something at a path can be seen, because what it is on, or a part of it, is
// mounted elsewhere too.
func aliases(path string, mounts []mount) []string {
	home := -1
	for i, m := range mounts { // of several at one point the last covers the others
		if below(path, m.point) && (home < 0 || len(m.point) >= len(mounts[home].point)) {
			home = i
		}
	}
	if home < 0 {
		return nil
	}
	at := rebase(path, mounts[home].point, mounts[home].root)
	var others []string
	for _, m := range mounts {
		if m.device != mounts[home].device {
			continue
		}
		var alias string
		switch {
		case below(at, m.root):
			alias = rebase(at, m.root, m.point)
		case below(m.root, at):
			alias = m.point
		default:
			continue
		}
		if alias != path && !below(alias, path) {
			others = append(others, alias)
		}
	}
	return others
}

// rebase moves a path from below one directory to below another.
func rebase(path, from, to string) string {
	return filepath.Join(to, strings.TrimPrefix(path, strings.TrimSuffix(from, "/")))
}
