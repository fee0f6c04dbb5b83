//go:build unix

package sandbox

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The descriptors of a keeper beside the three that it passes on. On control it reads what to keep, and then, byte by
// byte, what to do; its end means that everything has to end. On status it writes what became of the command.
const (
	controlFD = 3
	statusFD  = 4
)

// askToEnd is the byte on control at which the keeper asks the command and its children to end.
const askToEnd = 't'

// What stands at the beginning of each line on status.
const (
	statusStarted = "started "
	statusFailed  = "failed "
	statusEnded   = "ended "
)

// order is what a keeper is told to keep.
type order struct {
	Command
	Scratch string
}

// keep is the keeper's whole life; it returns the exit code.
func keep() int {
	runtime.LockOSThread() // the fence goes around this thread, which starts the command and stays until it has ended
	control, status := os.NewFile(controlFD, "control"), os.NewFile(statusFD, "status")
	if !isPipe(control) || !isPipe(status) {
		fmt.Fprintln(os.Stderr, "gatehouse: this command is for Gatehouse itself, which starts the commands of targets with it")
		return 2
	}
	k := &keeper{parent: os.Getppid(), control: bufio.NewReader(control), status: status}
	err := k.start()
	done := make(chan struct{})
	go func() { // on threads outside the fence
		defer close(done)
		if err != nil {
			k.tidy()
			fmt.Fprintf(status, "%s%s\n", statusFailed, oneLine(err.Error()))
			return
		}
		fmt.Fprintf(status, "%s%d\n", statusStarted, k.pid)
		go k.obey()
		how := k.wait()
		k.tidy()
		fmt.Fprintf(status, "%s%s\n", statusEnded, how)
	}()
	<-done
	return 0
}

func isPipe(f *os.File) bool {
	if f == nil {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeNamedPipe != 0
}

func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }

// keeper keeps one command.
type keeper struct {
	control *bufio.Reader
	status  io.Writer
	parent  int // Gatehouse
	scratch string
	own     string // the command's own directory
	pid     int    // of the command, which leads a process group

	// reaping guards what follows, and that no process that has ended is collected while another looks for whom to
	// signal: until then, its number belongs to nobody else.
	reaping sync.Mutex
	running bool // the command itself
	killing bool
}

func (k *keeper) start() error {
	if err := isolate(); err != nil { // before it knows any secret
		return err
	}
	line, err := k.control.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to keep: %w", err)
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("read what to keep: %w", err)
	}
	k.scratch = o.Scratch
	if err := k.makeOwn(o.User); err != nil {
		return err
	}
	if o.Home != "" {
		if err := makeHome(o.Home, o.User); err != nil {
			return err
		}
	}
	o.Env = addMissing(o.Env, "HOME", cmp.Or(o.Home, k.own))
	o.Env = addMissing(o.Env, "TMPDIR", k.own)
	if err := os.Chdir(cmp.Or(o.Dir, k.own)); err != nil {
		return fmt.Errorf("go to the working directory: %w", err)
	}
	program, err := findProgram(o.Args[0], o.Env)
	if err != nil {
		return err
	}
	if err := o.Limits.set(); err != nil {
		return err
	}
	if err := fenceIn(&o.Command, o.Scratch, k.own); err != nil {
		return err
	}
	attr := &syscall.ProcAttr{Env: o.Env, Files: []uintptr{0, 1, 2}, Sys: childAttr()}
	if o.User != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: o.User.UID, Gid: o.User.GID}
	}
	if k.pid, err = syscall.ForkExec(program, o.Args, attr); err != nil {
		if errors.Is(err, syscall.EPERM) && o.User != nil {
			err = fmt.Errorf("%w (%w)", err, ErrStrayUser)
		}
		return fmt.Errorf("start %s: %w", program, err)
	}
	k.running = true
	return release(0, 1)
}

func addMissing(env []string, name, value string) []string {
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
		return env
	}
	return append(env, name+"="+value)
}

// makeOwn makes the command's own directory.
func (k *keeper) makeOwn(u *User) (err error) {
	if k.own, err = os.MkdirTemp(k.scratch, ""); err != nil {
		return fmt.Errorf("make a directory for the command: %w", err)
	}
	return u.give(k.own)
}

// makeHome makes a home directory, in a directory that others may pass through.
func makeHome(path string, u *User) error {
	err := os.MkdirAll(filepath.Dir(path), 0o711)
	if err == nil {
		err = os.Mkdir(path, 0o700)
	}
	switch {
	case errors.Is(err, os.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("make a home directory for the command: %w", err)
	}
	return u.give(path)
}

// give makes a directory a user's own; the directory has just been made.
func (u *User) give(path string) error {
	if u == nil {
		return nil
	}
	err := os.Chown(path, int(u.UID), int(u.GID))
	if errors.Is(err, syscall.EPERM) {
		err = ErrStrayUser
	}
	if err != nil {
		return fmt.Errorf("run the command as user %d: %w", u.UID, err)
	}
	return nil
}

// tidy removes the own directory; and the scratch, when it was the last in it and Gatehouse is gone.
func (k *keeper) tidy() {
	if k.own == "" {
		return
	}
	_ = os.RemoveAll(k.own) // what the command made unremovable stays for the administrator
	if os.Getppid() != k.parent {
		_ = os.Remove(k.scratch)
	}
}

// findProgram looks a program up on the PATH that the command will have.
func findProgram(name string, env []string) (string, error) {
	path := ""
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	if err := os.Setenv("PATH", path); err != nil {
		return "", err
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("start %s: %w; is the command installed and on the PATH?", name, errors.Unwrap(err))
	}
	return filepath.Abs(found)
}

// release closes descriptors that are the command's alone, so that it sees an end when Gatehouse closes its side.
func release(fds ...int) error {
	null, err := syscall.Open(os.DevNull, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer syscall.Close(null)
	for _, fd := range fds {
		if err := replace(null, fd); err != nil {
			return fmt.Errorf("release descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// obey does what Gatehouse says, until Gatehouse says nothing any more.
func (k *keeper) obey() {
	for {
		b, err := k.control.ReadByte()
		k.reaping.Lock()
		switch {
		case err != nil:
			k.killing = true
			k.kill()
		case b == askToEnd && k.running:
			_ = syscall.Kill(-k.pid, syscall.SIGTERM)
		}
		k.reaping.Unlock()
		if err != nil {
			return
		}
	}
}

// kill ends the command's process group and every child, among them, on Linux, those that lost their parent. Each that
// ends may leave children of its own, so wait goes on with it. It needs reaping.
func (k *keeper) kill() {
	if k.running {
		_ = syscall.Kill(-k.pid, syscall.SIGKILL)
	}
	for _, pid := range children() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// exposed returns an error when a user could open something hidden by its file modes alone.
func exposed(hidden []string, u *User) error {
	for _, path := range hidden {
		real, err := whereabouts(path)
		if err != nil {
			return err
		}
		open := true
		for dir := filepath.Dir(real); open; dir = filepath.Dir(dir) {
			open = u.can(dir, 1)
			if dir == filepath.Dir(dir) {
				break
			}
		}
		if open && (u.can(real, 4) || u.can(real, 2)) {
			return fmt.Errorf("user %d can open %s, which is Gatehouse's own; take the file modes for others off it", u.UID, path)
		}
	}
	return nil
}

// can reports whether the mode of a file grants a user one of read (4), write (2) and execute (1). Access control lists
// are not looked at.
func (u *User) can(path string, what os.FileMode) bool {
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	if own, ok := st.Sys().(*syscall.Stat_t); ok {
		switch {
		case own.Uid == u.UID:
			what <<= 6
		case own.Gid == u.GID:
			what <<= 3
		}
	}
	return st.Mode().Perm()&what != 0
}

// unfenced says whether a command may run without a fence. Another user than Gatehouse's is a wall, too.
func unfenced(c *Command) error {
	switch {
	case c.Mode == Off || c.Mode == Optional:
		return nil
	case c.Read != nil || c.Write != nil:
		return fmt.Errorf("%w, so nothing can keep the command to the files that are listed for it; use a Linux kernel with Landlock, or remove files from its settings", ErrNoFence)
	case c.User.another():
		return exposed(c.Hidden, c.User)
	}
	return fmt.Errorf("%w, so the command could read Gatehouse's keys; use a Linux kernel with Landlock (5.13 or newer, with landlock in /sys/kernel/security/lsm), or name another user in run_as, or accept it with sandbox: optional", ErrNoFence)
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "signal: " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// closeOnExec keeps every descriptor but the three from the command; dir is where the system lists them.
func closeOnExec(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for descriptors that the command must not get: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// notIgnored keeps the keeper alive when a signal reaches it. To ignore them would make the command ignore them, too.
func notIgnored() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)
}

// set bounds this process and those that it starts. No core dumps: they would hold secrets.
func (l Limits) set() error {
	for _, r := range append(l.resources(), resource{"core dumps", syscall.RLIMIT_CORE, 0}) {
		var had syscall.Rlimit
		err := syscall.Getrlimit(r.what, &had)
		if err == nil {
			lower(&had.Cur, r.most)
			lower(&had.Max, r.most)
			err = syscall.Setrlimit(r.what, &had)
		}
		if err != nil {
			return fmt.Errorf("limit %s to %d: %w", r.name, r.most, err)
		}
	}
	return nil
}

// lower bounds a limit, whose type is not the same everywhere.
func lower[T int64 | uint64](limit *T, most uint64) {
	if uint64(*limit) > most {
		*limit = T(most)
	}
}

type resource struct {
	name string
	what int
	most uint64
}

// resources are the limits that are wanted.
func (l Limits) resources() []resource {
	var all []resource
	for _, r := range []resource{
		{"open files", syscall.RLIMIT_NOFILE, l.OpenFiles},
		{"memory", syscall.RLIMIT_DATA, l.Memory},
		{"processes", unix.RLIMIT_NPROC, l.Processes},
	} {
		if r.most > 0 {
			all = append(all, r)
		}
	}
	return all
}
