//go:build !unix

package target

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return nil }

// terminateGroup does nothing where processes cannot be asked to end.
func terminateGroup(*os.Process) {}

// killGroup ends the process. Where there are no process groups its children end when their pipes close.
func killGroup(p *os.Process) { _ = p.Kill() }
