//go:build unix

package target

import (
	"os"
	"syscall"
)

// terminateGroup asks the process and its children to end.
func terminateGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) }

// killGroup ends what is left of the process and its children.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
