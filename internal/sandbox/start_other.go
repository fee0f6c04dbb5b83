//go:build !unix

package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// Process is a command that was started.
type Process struct{ cmd *exec.Cmd }

// Start starts a command with its standard input, output and error. There are no keepers here: what the command leaves
// behind ends only when it notices that its pipes have ended.
func Start(_ context.Context, c Command, scratch *Scratch, stdin, stdout, stderr *os.File) (*Process, error) {
	if c.Mode != Off && c.Mode != Optional {
		return nil, fmt.Errorf("%w, so the command could read Gatehouse's keys; run Gatehouse on Linux, or accept it with sandbox: optional", ErrNoFence)
	}
	if c.User != nil {
		return nil, ErrStrayUser
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...) //nolint:noctx // it outlives the request that starts it; Kill ends it
	if cmd.Dir = c.Dir; cmd.Dir == "" {
		var err error
		if cmd.Dir, err = scratch.dir(); err != nil {
			return nil, err
		}
	}
	cmd.Env = c.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w; is the command installed and on the PATH?", c.Args[0], err)
	}
	return &Process{cmd}, nil
}

// Wait waits until the command has ended and says how.
func (p *Process) Wait() error {
	if err := p.cmd.Wait(); err != nil {
		return err
	}
	return fmt.Errorf("exit status 0")
}

// Terminate does nothing where processes cannot be asked to end.
func (p *Process) Terminate() {}

// Kill ends the command.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// HideMemory does nothing here.
func HideMemory() error { return nil }

func keep() int { return 2 }
