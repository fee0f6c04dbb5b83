//go:build unix && !linux

package target

import "syscall"

// ownGroup puts a command into a process group of its own, so that it can be stopped with its children.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
