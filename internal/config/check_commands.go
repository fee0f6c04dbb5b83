package config

import (
	"path"
	"slices"
	"strings"
	"time"
)

// leastMemory is what a process needs to start at all, its keeper included.
const leastMemory ByteSize = 256 << 20

// command checks what only targets that are commands have.
func (k *checker) command(at string, t *Target) {
	if t.Command == nil {
		for key, set := range map[string]bool{
			"dir": t.Dir != "", "home": t.Home != "", "shared": t.Shared, "run_as": t.RunAs != "", "files": t.Files != nil,
		} {
			if set {
				k.bad(at+"."+key, "goes with command only", "Remove it.")
			}
		}
		return
	}
	k.atLeast(at+".idle_timeout", t.Idle, time.Second)
	k.notAbove(at+".idle_timeout", t.Idle, "one day", 24*time.Hour)
	switch l := t.Limits; {
	case l.OpenFiles < 64:
		k.bad(at+".limits.open_files", "is too few for a program to start", "Give 64 or more.")
	case l.Memory != 0 && l.Memory < leastMemory:
		k.bad(at+".limits.memory", "is too little for a program to start", "Give "+leastMemory.String()+" or more.")
	case l.Processes < 0 || l.Processes > 0 && t.RunAs == "":
		k.bad(at+".limits.processes", "counts all processes of a user, so it needs one in run_as", "Add run_as, or remove the limit.")
	}
	switch t.Sandbox {
	case "off":
		k.doubtful(at+".sandbox", "lets the command read Gatehouse's keys and database, unless run_as keeps it from them", "Use required, or optional where the kernel has no Landlock.")
	case "optional":
		k.doubtful(at+".sandbox", "lets the command read Gatehouse's keys and database where the kernel has no Landlock, unless run_as keeps it from them", "Use required where the kernel has it.")
	}
	if t.Shared {
		k.doubtful(at+".shared", "gives one process to everybody: what it remembers of one person it can tell another", "Use it for servers without memory or credentials of a person.")
	}
	k.downloads(at, t)
}

// downloads warns of commands that fetch their program anew each time they start.
func (k *checker) downloads(at string, t *Target) {
	if len(t.Command) == 0 {
		return
	}
	runners := []string{"npx", "bunx", "uvx", "pipx", "pnpx"}
	_, home := t.Env["HOME"]
	if name := strings.TrimSuffix(path.Base(t.Command[0]), ".cmd"); slices.Contains(runners, name) && !home && t.Home == "" {
		k.doubtful(at+".command", name+" fetches the program from the internet each time a process starts, because nothing is kept between them", "Install the program and name it, or add home: DIRECTORY, where each person's processes keep what they fetched.")
	}
}
