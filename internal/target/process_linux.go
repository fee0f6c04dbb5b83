package target

import "syscall"

// ownGroup puts a command into a process group of its own, so that it can be stopped with its children, and lets the
// kernel end it when Gatehouse itself dies. The signal is tied to the thread that starts the process; the Go runtime
// ends threads only when a goroutine locked to one ends, and none is locked here.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
