package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// needsLandlock skips a test where the kernel lacks what it is about, and says so.
func needsLandlock(t *testing.T) {
	t.Helper()
	if Landlock() == 0 {
		t.Skip("SKIPPED: this kernel has no Landlock; TestRunAs and TestWithoutFence show what stands in its place")
	}
}

// state is a state directory with its secrets, and a neighbour that is nobody's secret.
func state(t *testing.T) (dir, neighbour string) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "state")
	if err := os.MkdirAll(filepath.Join(dir, "audit"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"state/gatehouse.db", "state/master.key", "state/audit/audit-1.jsonl", "secret", "neighbour"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(root, "neighbour")
}

func TestChildCannotReadTheKeys(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	dir, neighbour := state(t)
	root := filepath.Dir(dir)
	link := filepath.Join(root, "link-to-state") // there before the fence is put up
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	const no = "error: permission denied"
	for _, tc := range []struct{ attempt, want string }{
		{"read " + neighbour, "content of neighbour"},
		{"read " + dir + "/gatehouse.db", no},
		{"read " + dir + "/master.key", no},
		{"read " + dir + "/audit/audit-1.jsonl", no},
		{"read " + root + "/secret", no},
		{"read " + link + "/master.key", no},
		{"read /proc/self/root" + dir + "/master.key", no},
		{"read /proc/self/cwd/../../state/master.key", no},
		{"read mine", no},
		{"hardlink " + dir + "/master.key hard", "error: invalid cross-device link"},
		{"rename " + dir + "/master.key stolen", no},
		{"rename " + dir + " " + neighbour + "-dir", no},
		{"write " + dir + "/gatehouse.db", no},
		{"write " + dir + "/gatehouse.db-journal", no}, // SQLite would believe it
		{"write " + root + "/secret", no},
		{"truncate " + dir + "/gatehouse.db", no},
		{"remove " + dir + "/gatehouse.db", no},
		{"remove " + root + "/secret", no},
		{"write " + root + "/beside", no},
		{"write " + neighbour, "ok"},
		{"list " + root, "link-to-state neighbour secret state"}, // names are no secrets
		{"run /bin/true", ""},
	} {
		got := probes(t, Command{Hidden: []string{dir, root + "/secret", root + "/not-there-yet"}}, NewScratch(root), "symlink "+dir+"/master.key mine", tc.attempt)
		if got[0] != "ok" || withoutScratch(got[1]) != tc.want {
			t.Errorf("%s: %s, want %s", tc.attempt, got[1], tc.want)
		}
	}
	if b, err := os.ReadFile(dir + "/gatehouse.db"); err != nil || string(b) != "content of state/gatehouse.db" {
		t.Errorf("the database: %q %v", b, err)
	}
}

// withoutScratch leaves out the names of directories that are made for commands.
func withoutScratch(names string) string {
	var rest []string
	for name := range strings.SplitSeq(names, " ") {
		if !isScratch(name) {
			rest = append(rest, name)
		}
	}
	return strings.Join(rest, " ")
}

// What comes after the fence, and was to be hidden from the beginning, is out of reach too.
func TestWhatComesLaterStaysHidden(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	root := t.TempDir()
	later := filepath.Join(root, "master.key")
	c := Command{Hidden: []string{later}, Args: []string{"/bin/sh", "-c", `echo ready; read x; cat "$0" 2>&1 && echo got it`, later}, Env: []string{"PATH=/usr/bin:/bin"}}
	r := starts(t, c, NewScratch(t.TempDir()))
	if got := r.line(); got != "ready" {
		t.Fatal(got)
	}
	if err := os.WriteFile(later, []byte("sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(r.in, "go")
	if got := r.line(); !strings.Contains(got, "Permission denied") {
		t.Error(got)
	}
}

// A command reaches neither Gatehouse's memory and environment nor its processes, nor those of another command.
func TestChildCannotReachOtherProcesses(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	root := t.TempDir()
	victim := standInFor(t, playing("deaf"), root)
	other := victim.line()
	gatehouse := fmt.Sprint(victim.cmd.Process.Pid)
	got := probes(t, Command{}, NewScratch(root), "read /proc/"+gatehouse+"/environ", "read /proc/"+gatehouse+"/mem", "link /proc/"+gatehouse+"/fd/0", "read /proc/"+gatehouse+"/root/etc/passwd",
		"read /proc/"+other+"/environ", "list /proc/"+other+"/cwd/", "read /proc/self/environ")
	for i, g := range got[:6] {
		if !strings.HasPrefix(g, "error: ") {
			t.Errorf("attempt %d: %s", i, g)
		}
	}
	if !strings.HasPrefix(got[6], play) {
		t.Errorf("its own environment: %s", got[6])
	}
	if Landlock() < 6 {
		t.Log("SKIPPED: this kernel's Landlock does not hold signals back")
		return
	}
	for _, pid := range []string{gatehouse, other} {
		if got := probes(t, Command{}, NewScratch(root), "signal "+pid); got[0] != "error: operation not permitted" {
			t.Errorf("a signal: %s", got[0])
		}
	}
}

// Two commands of one user, and so two persons, do not see each other's directories.
func TestOwnDirectoryIsOnesOwn(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	scratch := NewScratch(t.TempDir())
	one := starts(t, Command{Args: []string{"/bin/sh", "-c", "echo ada > notes; pwd; read x"}, Env: []string{"PATH=/usr/bin:/bin"}}, scratch)
	notes := one.line() + "/notes"
	if got := probes(t, Command{}, scratch, "read "+notes); got[0] != "error: permission denied" {
		t.Errorf("the other's notes: %s", got[0])
	}
	elsewhere := NewScratch(filepath.Dir(scratch.path)) // another Gatehouse of this user
	if got := probes(t, Command{}, elsewhere, "read "+notes); got[0] != "error: permission denied" {
		t.Errorf("from another Gatehouse: %s", got[0])
	}
}

// The own directory may be reached over a symbolic link, as /tmp is on some machines.
func TestOwnDirectoryBehindALink(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	link := filepath.Join(t.TempDir(), "tmp")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	one := starts(t, Command{Args: []string{"/bin/sh", "-c", "echo ada > notes && cat notes; read x"}, Env: []string{"PATH=/usr/bin:/bin"}}, NewScratch(link))
	if got := one.line(); got != "ada" {
		t.Errorf("a note: %q", got)
	}
}

// A link that takes a directory's place after it was looked at, and before the fence is up, leads nowhere.
func TestALinkThatComesLate(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "work", "deep")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := openPlace(path)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(fd)
	for _, name := range []string{"work", "work/deep"} {
		at := filepath.Join(root, name)
		if err := os.Rename(at, at+".old"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(at+".old", at); err != nil {
			t.Fatal(err)
		}
		if fd, err := openPlace(path); err == nil {
			syscall.Close(fd)
			t.Errorf("%s: a link was followed", name)
		}
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at+".old", at); err != nil {
			t.Fatal(err)
		}
	}
}

// Homes last, and are for one person each.
func TestHome(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	homes, scratch := filepath.Join(t.TempDir(), "homes"), NewScratch(t.TempDir())
	ada, bob := Command{Home: homes + "/ada"}, Command{Home: homes + "/bob", Read: []string{os.Args[0]}}
	if got := probes(t, ada, scratch, "write "+homes+"/ada/notes", "env"); got[0] != "ok" || !strings.Contains(got[1], "HOME="+homes+"/ada|TMPDIR="+scratch.path) {
		t.Errorf("%q", got)
	}
	if got := probes(t, ada, scratch, "read "+homes+"/ada/notes"); got[0] != "" {
		t.Errorf("the next time: %s", got[0])
	}
	got := probes(t, bob, scratch, "read "+homes+"/ada/notes", "write "+homes+"/carol", "write "+homes+"/bob/notes")
	if no := "error: permission denied"; got[0] != no || got[1] != no || got[2] != "ok" {
		t.Errorf("bob: %q", got)
	}
	for path, mode := range map[string]os.FileMode{homes: 0o711, homes + "/ada": 0o700} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, st.Mode(), err)
		}
	}
}

func TestOnlyWhatIsListed(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	root := t.TempDir()
	for _, name := range []string{"r", "w", "n"} {
		if err := os.MkdirAll(filepath.Join(root, name, "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name, "file"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Command{Read: []string{root + "/r", os.Args[0]}, Write: []string{root + "/w"}, Hidden: []string{root + "/w/deep"}}
	const no = "error: permission denied"
	attempts := []string{"read " + root + "/r/file", "write " + root + "/r/file", "write " + root + "/r/deep/x", "read " + root + "/n/file", "list " + root,
		"read " + root + "/w/file", "write " + root + "/w/file", "write " + root + "/w/deep/x", "run /bin/true", "write x", "write /dev/null", "read /etc/passwd"}
	want := []string{"r", no, no, no, no, "w", "ok", no, "", "ok", "ok"}
	got := probes(t, c, NewScratch(t.TempDir()), attempts...)
	for i, w := range want {
		if got[i] != w {
			t.Errorf("%s: %s, want %s", attempts[i], got[i], w)
		}
	}
	if !strings.HasPrefix(got[11], "root:") {
		t.Errorf("read /etc/passwd: %s", got[11])
	}
	for _, bad := range []Command{{Read: []string{root + "/w/deep"}}, {Write: []string{root + "/w/deep/x"}}, {Dir: root + "/w/deep"}} {
		bad.Hidden, bad.Args = c.Hidden, []string{os.Args[0]}
		if err := os.WriteFile(root+"/w/deep/x", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tryStart(t, bad, NewScratch(t.TempDir())); err == nil || !strings.Contains(err.Error(), "Gatehouse's own") {
			t.Errorf("%v %v %v: %v", bad.Read, bad.Write, bad.Dir, err)
		}
	}
}

func TestNoPrivileges(t *testing.T) {
	t.Parallel()
	got := probes(t, Command{Mode: Optional}, NewScratch(t.TempDir()), "read /proc/self/status")
	for _, want := range []string{"NoNewPrivs:\t1|", "CapEff:\t0000000000000000|", "CapPrm:\t0000000000000000|", "CapAmb:\t0000000000000000|"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("no %q in %s", want, got[0])
		}
	}
}

// Root finds its way round every file system, through the disk.
func TestRootCannotReadTheDisk(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	for _, path := range rawMemory() {
		if got := probes(t, Command{}, NewScratch(t.TempDir()), "read "+path); !strings.HasPrefix(got[0], "error: ") {
			t.Errorf("%s: %d bytes", path, len(got[0]))
		}
	}
}

// The second wall, and the only one where the kernel has no fence: another user, whom the file modes keep out.
func TestRunAs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		c := playing("probe", "who")
		c.User = &User{60_001, 60_002}
		if _, err := tryStart(t, c, NewScratch(t.TempDir())); err == nil || !strings.Contains(err.Error(), ErrStrayUser.Error()) {
			t.Errorf("without root: %v", err)
		}
		t.Skip("SKIPPED: the rest needs root")
	}
	dir, neighbour := state(t)
	program := filepath.Join(worldDir(t), "probe")
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	attempts := []string{"who", "dir", "write x", "read " + dir + "/master.key", "read " + neighbour, "list " + dir}
	c := Command{Args: append([]string{program}, attempts...), Env: []string{play + "=probe"}, User: &User{60_001, 60_002}, Mode: Off, Hidden: []string{dir}}
	scratch := NewScratch("") // where others may enter
	defer scratch.Remove()
	r := starts(t, c, scratch)
	if got := r.line(); got != "60001 60001 60002 60002 []" {
		t.Errorf("it is %s", got)
	}
	r.line()
	if got := r.line(); got != "ok" {
		t.Errorf("it cannot write in its own directory: %s", got)
	}
	for _, attempt := range attempts[3:] {
		if got := r.line(); got != "error: permission denied" {
			t.Errorf("%s: %s", attempt, got)
		}
	}
	_ = r.p.Wait()
}

// worldDir is a directory that other users may enter.
func worldDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What is hidden may be seen elsewhere too, because it, what it is in, or a part of it is mounted there.
func TestOtherMountsAreHidden(t *testing.T) {
	t.Parallel()
	needsLandlock(t)
	dir, _ := state(t)
	root := filepath.Dir(dir)
	for _, name := range []string{"all", "part", "same"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(`mount --bind %[1]s %[1]s/all && mount --bind %[1]s/state %[1]s/same && mount --bind %[1]s/state/audit %[1]s/part && exec "$0" "$@"`, root)
	spec, err := json.Marshal(Command{Args: []string{os.Args[0], "read " + root + "/all/state/master.key", "read " + root + "/same/master.key", "read " + root + "/part/audit-1.jsonl", "read " + root + "/all/neighbour"},
		Env: []string{play + "=probe"}, Hidden: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", script, os.Args[0], string(spec), root)
	cmd.Env = []string{play + "=gatehouse", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil && os.Geteuid() != 0 {
		t.Skipf("SKIPPED: may not mount: %s", out)
	}
	const no = "error: permission denied\n"
	if got := string(out); err != nil || got != no+no+no+"content of neighbour\n" {
		t.Errorf("%v: %s", err, got)
	}
}
