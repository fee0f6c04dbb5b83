//go:build unix && !linux

package sandbox

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate keeps every descriptor but the three from the command, whoever left it open in Gatehouse.
func isolate() error {
	notIgnored()
	return closeOnExec("/dev/fd")
}

// HideMemory does nothing here.
func HideMemory() error { return nil }

// childAttr starts the command as leader of a process group.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func replace(fd, by int) error { return unix.Dup2(fd, by) }

func fenceIn(c *Command, _, _ string) error { return unfenced(c) }

// children finds none: what loses its parent goes to another here, so that only the process group counts.
func children() []int { return nil }

// wait collects the command, ends its process group, and says how the command ended.
func (k *keeper) wait() (how string) {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(k.pid, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		k.reaping.Lock()
		k.kill()
		k.running = false
		k.reaping.Unlock()
		return describe(status)
	}
}
