//go:build unix

package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// play makes the test binary play something else instead of running tests; the rest of the arguments are for that.
const play = "SANDBOX_TEST_PLAY"

func TestMain(m *testing.M) {
	RunIfAsked()
	if part := os.Getenv(play); part != "" {
		players()[part](os.Args[1:])
		return
	}
	goleak.VerifyTestMain(m)
}

func players() map[string]func([]string) {
	return map[string]func([]string){
		"probe":     probe,
		"family":    family,
		"child":     child,
		"gatehouse": standIn,
		"deaf":      deaf,
	}
}

// probe tries what its arguments say and prints what came of it, one line each.
func probe(args []string) {
	for _, arg := range args {
		verb, what, _ := strings.Cut(arg, " ")
		fmt.Printf("%s\n", said(attempt(verb, what)))
	}
}

func said(text string, err error) string {
	if err != nil {
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			return "error: " + errno.Error()
		}
		return "error: " + err.Error()
	}
	return text
}

func attempt(verb, what string) (string, error) {
	switch verb {
	case "read":
		b, err := os.ReadFile(what)
		return string(bytes.ReplaceAll(b, []byte("\n"), []byte("|"))), err
	case "write":
		f, err := os.OpenFile(what, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			err = f.Close()
		}
		return "ok", err
	case "truncate":
		return "ok", os.Truncate(what, 0)
	case "remove":
		return "ok", os.Remove(what)
	case "rename":
		from, to, _ := strings.Cut(what, " ")
		return "ok", os.Rename(from, to)
	case "hardlink":
		from, to, _ := strings.Cut(what, " ")
		return "ok", os.Link(from, to)
	case "symlink":
		from, to, _ := strings.Cut(what, " ")
		return "ok", os.Symlink(from, to)
	case "link":
		return os.Readlink(what)
	case "list":
		entries, err := os.ReadDir(what)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " "), err
	case "env":
		return strings.Join(os.Environ(), "|"), nil
	case "dir":
		dir, err := os.Getwd()
		return dir, err
	case "who":
		groups, err := os.Getgroups()
		return fmt.Sprint(os.Getuid(), " ", os.Geteuid(), " ", os.Getgid(), " ", os.Getegid(), " ", groups), err
	case "fds":
		return descriptors()
	case "signal":
		pid, _ := strconv.Atoi(what)
		return "ok", syscall.Kill(pid, 0)
	case "open-files":
		var l syscall.Rlimit
		err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
		return fmt.Sprint(l.Cur, " ", l.Max), err
	case "core":
		var l syscall.Rlimit
		err := syscall.Getrlimit(syscall.RLIMIT_CORE, &l)
		return fmt.Sprint(l.Cur, " ", l.Max), err
	case "run":
		out, err := exec.Command(what).Output()
		return string(bytes.TrimSpace(out)), err
	}
	return "", fmt.Errorf("no verb %q", verb)
}

// descriptors lists what this process has open, but for what the Go runtime made.
func descriptors() (string, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	var names []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasSuffix(to, "/fd") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			names = append(names, e.Name()+"="+strings.SplitN(to, ":", 2)[0])
		}
	}
	return strings.Join(names, " "), err
}

// family has a child in its own process group and one that went away as a daemon does, and waits for the end of its
// input.
func family([]string) {
	for _, away := range []bool{false, true} {
		c := exec.Command(os.Args[0], fmt.Sprint(away))
		c.Env = append(os.Environ(), play+"=child")
		if away {
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		}
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		fmt.Print(line)
		if away {
			// The grandchild is on its own now.
			_ = c.Process.Kill()
			_, _ = c.Process.Wait()
		}
	}
	fmt.Println(os.Getpid())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// child says who it is and does not end by itself. The one that is away starts another like it first.
func child(args []string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	if args[0] == "true" {
		c := exec.Command(os.Args[0], "false")
		c.Env = os.Environ()
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		c.Stdout = os.Stdout
		if err := c.Start(); err != nil {
			fmt.Println(err)
		}
	} else {
		fmt.Println(os.Getpid())
	}
	for {
		time.Sleep(time.Hour) // with nothing to wait for, Go would call it a deadlock
	}
}

// deaf ends neither at the end of its input nor when asked.
func deaf([]string) {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println(os.Getpid())
	for {
		time.Sleep(time.Hour) // with nothing to wait for, Go would call it a deadlock
	}
}

// standIn is a Gatehouse that keeps one command, named by its arguments in JSON, and passes its output on.
func standIn(args []string) {
	var c Command
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		panic(err)
	}
	in, w, _ := os.Pipe()
	defer w.Close()
	p, err := Start(context.Background(), c, NewScratch(args[1]), in, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	_ = p.Wait()
}

// run is a command that a test started.
type run struct {
	t   *testing.T
	p   *Process
	in  *os.File
	out *bufio.Reader
}

// playing is the command that plays a part.
func playing(part string, args ...string) Command {
	return Command{Name: "test", Args: append([]string{os.Args[0]}, args...), Env: []string{play + "=" + part}, Mode: Optional}
}

// starts starts a command and ends it with the test.
func starts(t *testing.T, c Command, scratch *Scratch) *run {
	t.Helper()
	r, err := tryStart(t, c, scratch)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryStart(t *testing.T, c Command, scratch *Scratch) (*run, error) {
	t.Helper()
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); out.Close() })
	defer stdin.Close()
	defer stdout.Close()
	p, err := Start(t.Context(), c, scratch, stdin, stdout, os.Stderr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		p.Kill()
		_ = p.Wait()
	})
	return &run{t, p, in, bufio.NewReader(out)}, nil
}

// line reads one line of the command's output.
func (r *run) line() string {
	r.t.Helper()
	line, err := r.out.ReadString('\n')
	if err != nil {
		r.t.Fatalf("the command said %q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// probes starts a probe and returns what came of each attempt.
func probes(t *testing.T, c Command, scratch *Scratch, attempts ...string) []string {
	t.Helper()
	c.Args, c.Env = append([]string{os.Args[0]}, attempts...), append(c.Env, play+"=probe")
	r := starts(t, c, scratch)
	var all []string
	for range attempts {
		all = append(all, r.line())
	}
	return all
}

// standing is a process that stands in for Gatehouse.
type standing struct {
	*run
	cmd *exec.Cmd
}

func standInFor(t *testing.T, c Command, at string) *standing {
	t.Helper()
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], string(spec), at)
	cmd.Env = []string{play + "=gatehouse", "GATEHOUSE_MASTER_KEY=sesame"}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &standing{&run{t: t, out: bufio.NewReader(out)}, cmd}
}

// awaitEmpty waits until a directory is empty: keepers tidy up after whoever started them has gone.
func awaitEmpty(t *testing.T, dir string) {
	t.Helper()
	var left []os.DirEntry
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if left, _ = os.ReadDir(dir); len(left) == 0 {
			return
		}
	}
	t.Errorf("%s is left", left[0].Name())
}

// awaitGone waits until a process is no more.
func awaitGone(t *testing.T, what, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if syscall.Kill(n, 0) != nil || zombie(n) {
			return
		}
		time.Sleep(5 * time.Millisecond) // nothing tells about processes that are not our children
	}
	t.Errorf("%s (%d) still runs", what, n)
	_ = syscall.Kill(n, syscall.SIGKILL)
}

// zombie reports whether a process has ended and only waits to be collected.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return runtime.GOOS == "linux"
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}
