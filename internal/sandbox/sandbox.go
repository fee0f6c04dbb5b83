// Package sandbox runs a command that Gatehouse does not trust with itself: with the environment, the three descriptors,
// the user, the directory and the limits that it is given and nothing else, out of reach of what is hidden from it, and
// with no process left behind, however the command or Gatehouse itself ends.
//
// Between Gatehouse and the command stands a keeper: this very binary once more, started with Subcommand. The keeper
// puts up the fence, starts the command inside it, and stays. On Linux every process that the command leaves behind
// becomes the keeper's child, so that it can end them all; and when Gatehouse dies, the keeper's pipe from Gatehouse
// ends, and the keeper ends everything (docs/adr/0014-commands-in-a-sandbox.md).
//
// It does not know what the command speaks, nor when one should be started or stopped; that is target's.
//
// Sources: landlock(7), prctl(2) (PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG), capabilities(7).
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// Mode says what happens where the kernel cannot fence a command in.
type Mode string

// The modes. Required is the zero value's meaning: a command that could read Gatehouse's keys does not start.
const (
	Required Mode = "required" // only inside a fence, or as another user than Gatehouse
	Optional Mode = "optional" // inside a fence where the kernel has one
	Off      Mode = "off"      // never
)

// Command is what to run and what it may reach. It holds the values of the environment, so it is not to be logged.
type Command struct {
	Name string   // shown in the list of processes
	Args []string // the program and its arguments; never given to a shell
	Env  []string // NAME=value, all of it; HOME and TMPDIR are added when they are not there
	Dir  string   // working directory; default: the own directory
	Home string   // home directory, which lasts and is made when it is not there; default: the own directory
	User *User    // whom to run as; nil: whoever runs Gatehouse

	Mode   Mode
	Hidden []string // files and directories that nobody inside the fence can open, wherever they are mounted
	Read   []string // with Write: all that can be opened inside the fence beside the system's programs; both nil: whatever is not hidden
	Write  []string

	Limits Limits
}

// Limits bound each process of a command by itself (setrlimit(2)); 0 leaves a limit as it is. There are no core dumps.
type Limits struct {
	OpenFiles uint64
	Memory    uint64 // bytes of private memory (RLIMIT_DATA)
	Processes uint64 // of the user, so it means something only together with User
}

// User is whom a command runs as; supplementary groups are dropped.
type User struct{ UID, GID uint32 }

// ErrNoFence says that the kernel cannot fence a command in.
var ErrNoFence = errors.New("this kernel has no Landlock")

// ErrStrayUser says that a command cannot run as another user.
var ErrStrayUser = errors.New("only root may run a command as another user")

// FindUser reads whom to run as: the name of a user, whose own group it gets, or uid:gid.
func FindUser(s string) (*User, error) {
	u, g, numeric := strings.Cut(s, ":")
	if !numeric {
		found, err := user.Lookup(s)
		if err != nil {
			return nil, fmt.Errorf("find the user %q: %w; name a user of this machine, or uid:gid", s, err)
		}
		u, g = found.Uid, found.Gid
	}
	uid, err := strconv.ParseUint(u, 10, 32)
	if err == nil {
		var gid uint64
		if gid, err = strconv.ParseUint(g, 10, 32); err == nil {
			if uid == 0 || gid == 0 || uid == noID || gid == noID {
				return nil, fmt.Errorf("run as %q: neither user nor group may be root's; name one without rights of its own", s)
			}
			return &User{uint32(uid), uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("run as %q: %w; write a user's name, or uid:gid", s, err)
}

// noID is (uid_t) -1, which means "unchanged" to the kernel.
const noID = 1<<32 - 1

// another reports whether u is somebody else than who runs Gatehouse.
func (u *User) another() bool { return u != nil && int(u.UID) != os.Geteuid() }

// Subcommand is the first argument with which this binary is the keeper.
const Subcommand = "keep-command"

// RunIfAsked turns this process into a keeper when it was started as one, and then does not return. It belongs at the
// very beginning of main, and of TestMain where tests start commands.
func RunIfAsked() {
	if len(os.Args) > 1 && os.Args[1] == Subcommand {
		syscall.Exit(keep()) // at once: somebody waits for it, and the race detector would take a second
	}
}
