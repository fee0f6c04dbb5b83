//go:build unix

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestOwnDirectory(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	scratch := NewScratch(at)
	r := starts(t, Command{Args: []string{os.Args[0], "dir", "list .", "write here", "env"}, Env: []string{play + "=probe", "A=b"}, Mode: Optional}, scratch)
	dir := r.line()
	if inside, err := filepath.Rel(scratch.path, dir); err != nil || strings.Contains(inside, "/") || inside == "." {
		t.Errorf("it runs in %s, and not in a directory of its own in %s", dir, scratch.path)
	}
	if got := r.line(); got != "" {
		t.Errorf("its directory holds %s", got)
	}
	if got := r.line(); got != "ok" {
		t.Errorf("it cannot write there: %s", got)
	}
	if got, want := r.line(), play+"=probe|A=b|HOME="+dir+"|TMPDIR="+dir; got != want {
		t.Errorf("environment %s, want %s", got, want)
	}
	if err := r.p.Wait(); err == nil || err.Error() != "exit status 0" {
		t.Errorf("it ended with %v", err)
	}
	for range 2 {
		if err := scratch.Remove(); err != nil {
			t.Error(err)
		}
	}
	awaitEmpty(t, at)
}

func TestGivenDirectoryAndHome(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	got := probes(t, Command{Dir: dir, Env: []string{"HOME=/somewhere"}, Mode: Optional}, NewScratch(t.TempDir()), "dir", "env", "write x")
	if got[0] != dir || !strings.Contains(got[1], "HOME=/somewhere|") || strings.Count(got[1], "HOME=") != 1 || got[2] != "ok" {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
		t.Errorf("a directory that is not its own was tidied: %v", err)
	}
}

func TestScratchComesBack(t *testing.T) {
	t.Parallel()
	scratch := NewScratch(t.TempDir())
	first, err := scratch.dir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first); err != nil { // as somebody does who cleans up temporary files
		t.Fatal(err)
	}
	if got := probes(t, Command{Mode: Optional}, scratch, "write x"); got[0] != "ok" {
		t.Error(got)
	}
}

// Whoever started Gatehouse may have left descriptors open in it that nobody marked as its own.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("SKIPPED: no /proc to look at")
	}
	key, err := os.Create(filepath.Join(t.TempDir(), "signing-key"))
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	leaked, err := syscall.Dup(int(key.Fd())) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(leaked)
	got := probes(t, Command{Mode: Optional}, NewScratch(t.TempDir()), "fds")
	if !strings.HasPrefix(got[0], "0=pipe 1=pipe 2=") || strings.Count(got[0], "=") != 3 {
		t.Errorf("descriptors: %s", got[0])
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	got := probes(t, Command{Mode: Optional, Limits: Limits{OpenFiles: 77}}, NewScratch(t.TempDir()), "open-files", "core")
	if got[0] != "77 77" || got[1] != "0 0" {
		t.Errorf("open files %s, core dumps %s", got[0], got[1])
	}
}

// Everything that a command started ends: when the command is killed, when its input ends and it goes by itself, when
// its keeper is killed, and when Gatehouse is.
func TestNobodyIsLeft(t *testing.T) {
	t.Parallel()
	away := runtime.GOOS == "linux" // no other system gives the keeper what a command leaves behind
	check := func(t *testing.T, lines []string, skipAway bool) {
		t.Helper()
		awaitGone(t, "the child", lines[0])
		if away && !skipAway {
			awaitGone(t, "the grandchild that left", lines[1])
		}
		awaitGone(t, "the command", lines[2])
	}
	for name, end := range map[string]func(r *run){
		"killed":           func(r *run) { r.p.Kill() },
		"its input ended":  func(r *run) { r.in.Close() },
		"asked to":         func(r *run) { r.p.Terminate() },
		"keeper was asked": func(r *run) { _ = r.p.keeper.Process.Signal(syscall.SIGTERM); r.p.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := starts(t, playing("family"), NewScratch(t.TempDir()))
			lines := []string{r.line(), r.line(), r.line()}
			end(r)
			_ = r.p.Wait()
			check(t, lines, false)
		})
	}
	t.Run("keeper was killed", func(t *testing.T) {
		t.Parallel()
		r := starts(t, playing("family"), NewScratch(t.TempDir()))
		lines := []string{r.line(), r.line(), r.line()}
		_ = r.p.keeper.Process.Kill()
		if err := r.p.Wait(); err == nil || !strings.Contains(err.Error(), "its keeper was ended") {
			t.Error(err)
		}
		check(t, lines, true) // without a keeper, what has left its group is lost
		awaitGone(t, "clean-up", killed(lines[1]))
	})
	t.Run("Gatehouse was killed", func(t *testing.T) {
		t.Parallel()
		at := t.TempDir()
		g := standInFor(t, playing("family"), at)
		lines := []string{g.line(), g.line(), g.line()}
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait()
		check(t, lines, false)
		awaitEmpty(t, at)
	})
}

func TestDeafCommandIsKilled(t *testing.T) {
	t.Parallel()
	r := starts(t, playing("deaf"), NewScratch(t.TempDir()))
	pid := r.line()
	r.in.Close()
	r.p.Terminate()
	r.p.Kill()
	if err := r.p.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Error(err)
	}
	awaitGone(t, "the command", pid)
}

func TestWhatCannotStart(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		c    Command
		want string
	}{
		"no such program":   {Command{Args: []string{"no-such-program"}, Env: []string{"PATH=/usr/bin:/bin"}}, "is the command installed and on the PATH?"},
		"no PATH":           {Command{Args: []string{"true"}}, "is the command installed and on the PATH?"},
		"no such directory": {Command{Args: []string{os.Args[0]}, Dir: "/no/such/dir"}, "no such file"},
		"not a program":     {Command{Args: []string{"/etc/passwd"}}, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scratch := NewScratch(t.TempDir())
			tc.c.Mode = Optional
			_, err := tryStart(t, tc.c, scratch)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %s", err, tc.want)
			}
			awaitEmpty(t, scratch.path)
		})
	}
}

// A caller that gives up is not held by a keeper that hangs, and nothing starts behind its back.
func TestStartGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := Start(ctx, playing("deaf"), NewScratch(t.TempDir()), os.Stdin, os.Stderr, os.Stderr)
	if err == nil { // it was quicker
		_ = p.Wait()
	} else if !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "what to keep") {
		t.Error(err)
	}
}

func TestFindUser(t *testing.T) {
	t.Parallel()
	if u, err := FindUser("1000:1001"); err != nil || *u != (User{1000, 1001}) {
		t.Errorf("%v %v", u, err)
	}
	for _, s := range []string{"0:0", "0:5", "5:0", "root", "", "no-such-user-here", "5:", ":5", "5:5:5", "-1:5", "4294967295:5", "4294967296:5", "1e3:5"} {
		if u, err := FindUser(s); err == nil {
			t.Errorf("%q is %v", s, u)
		}
	}
}

// Where the kernel has no fence, a command starts only as another user, from whom the file modes keep what is hidden,
// or when the administrator says so.
func TestWithoutFence(t *testing.T) {
	t.Parallel()
	private, open := filepath.Join(t.TempDir(), "private"), filepath.Join(t.TempDir(), "open")
	for path, mode := range map[string]os.FileMode{private: 0o600, open: 0o644} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	other, self := &User{60_001, 60_001}, &User{uint32(os.Geteuid()), uint32(os.Getegid())}
	reachable := true // by whoever is in none of the temporary directories' groups
	for dir := filepath.Dir(open); dir != "/"; dir = filepath.Dir(dir) {
		reachable = reachable && other.can(dir, 1)
	}
	for name, tc := range map[string]struct {
		c    Command
		want string
	}{
		"nothing said":                {Command{}, "no Landlock"},
		"required":                    {Command{Mode: Required}, "no Landlock"},
		"optional":                    {Command{Mode: Optional, Hidden: []string{open}}, ""},
		"off":                         {Command{Mode: Off, Hidden: []string{open}}, ""},
		"as itself":                   {Command{User: self}, "no Landlock"},
		"as another":                  {Command{User: other, Hidden: []string{private, "/no/such/file"}}, ""},
		"as another who can read":     {Command{User: other, Hidden: []string{private, open}}, "user 60001 can open " + open},
		"as another, with a list":     {Command{User: other, Read: []string{}}, "no Landlock"},
		"as another, whoever that is": {Command{Mode: Optional, User: other, Hidden: []string{open}}, ""},
	} {
		err := unfenced(&tc.c)
		if !reachable && strings.Contains(tc.want, "can open") {
			continue
		}
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
		if err != nil && !errors.Is(err, ErrNoFence) && !strings.Contains(err.Error(), "file modes") {
			t.Errorf("%s: no hint in %v", name, err)
		}
	}
}

func killed(pid string) string {
	var n int
	if _, err := fmt.Sscan(pid, &n); err == nil && n > 1 {
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
	return pid
}
