package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isolate makes the keeper inherit what the command leaves behind, keeps others from looking into it, and keeps every
// descriptor but the three from the command, whoever left it open in Gatehouse.
func isolate() error {
	notIgnored()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of what is left behind: %w", err)
	}
	if err := HideMemory(); err != nil {
		return err
	}
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil
	}
	return closeOnExec("/proc/self/fd") // kernels before 5.11
}

// HideMemory keeps this process from being traced, and its memory and environment from being read, by other processes
// of the same user; it leaves no core dump either (prctl(2), PR_SET_DUMPABLE).
func HideMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep other processes from reading the memory: %w", err)
	}
	return nil
}

// childAttr starts the command as leader of a process group, to be ended when this thread ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func replace(fd, by int) error { return unix.Dup3(fd, by, 0) }

// fenceIn takes every right from the calling thread that the command must not have.
func fenceIn(c *Command, scratch, own string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("rule out new privileges: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if c.Mode == Off {
		return nil
	}
	if Landlock() == 0 {
		return unfenced(c)
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("learn where file systems are mounted: %w", err)
	}
	hidden := *c
	if c.User == nil && os.Geteuid() == 0 {
		hidden.Hidden = append(rawMemory(), c.Hidden...)
	}
	f, err := newFence(&hidden, scratch, own, parseMounts(text))
	if err != nil {
		return err
	}
	return f.close()
}

// dropCapabilities takes from what the command will be whatever a capability could give it, also when it runs as root.
// Without CAP_SETPCAP there is nothing to take but what is inherited.
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("drop inherited capabilities: %w", err)
	}
	for c := uintptr(0); ; c++ {
		switch err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); {
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM): // the last one, or none to drop
			return nil
		case err != nil:
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
}

// rawMemory are the ways round every file system that root has, even without capabilities.
func rawMemory() []string {
	entries, err := os.ReadDir("/dev")
	if err != nil {
		return nil
	}
	var paths []string
	for _, e := range entries {
		switch e.Name() {
		case "mem", "kmem", "port":
			paths = append(paths, "/dev/"+e.Name())
		default:
			if e.Type()&os.ModeDevice != 0 && e.Type()&os.ModeCharDevice == 0 {
				paths = append(paths, "/dev/"+e.Name())
			}
		}
	}
	return paths
}

// children lists the processes whose parent this one is.
func children() []int {
	var mine []int
	self := strconv.AppendInt(nil, int64(os.Getpid()), 10)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state parent …; the name may hold anything, so the last parenthesis counts (proc_pid_stat(5)).
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && bytes.Equal(fields[1], self) {
			mine = append(mine, pid)
		}
	}
	return mine
}

// wait collects every process until there is none, and says how the command itself ended.
func (k *keeper) wait() (how string) {
	for {
		pid, err := awaitEnd()
		if err != nil {
			return how // no children are left
		}
		var status syscall.WaitStatus
		k.reaping.Lock()
		if pid == k.pid {
			k.killing = true
			k.kill() // what it leaves behind, as long as its group is certainly its own
			k.running = false
		}
		_, err = syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if k.killing {
			k.kill()
		}
		k.reaping.Unlock()
		if pid == k.pid && err == nil {
			how = describe(status)
		}
	}
}

// awaitEnd waits until a child has ended, and leaves it to be collected.
func awaitEnd() (int, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		// si_pid comes first in what depends on the signal, which begins at a multiple of a pointer's size.
		at := 3 * unsafe.Sizeof(info.Signo)
		at = (at + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), at))), err
	}
}
