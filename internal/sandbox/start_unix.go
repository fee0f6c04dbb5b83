//go:build unix

package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a command that was started.
type Process struct {
	PID int // of the command, which leads a process group of its own

	keeper  *exec.Cmd
	control *os.File
	gone    chan struct{} // closed when the keeper has ended
	err     error         // how the command ended; set before gone is closed

	killing sync.Once
}

// Start starts a command with its standard input, output and error, which remain the caller's to close, and returns
// when it runs. Whoever starts it calls Wait.
func Start(ctx context.Context, c Command, scratch *Scratch, stdin, stdout, stderr *os.File) (*Process, error) {
	dir, err := scratch.dir()
	if err != nil {
		return nil, err
	}
	control, status, keeper, err := startKeeper(c.Name, stdin, stdout, stderr)
	if err != nil {
		return nil, fmt.Errorf("start the keeper of %s: %w", c.Args[0], err)
	}
	p := &Process{keeper: keeper, control: control, gone: make(chan struct{})}
	stop := context.AfterFunc(ctx, p.Kill) // a keeper that hangs, say on a file system that does not answer
	defer stop()
	lines := bufio.NewReader(status)
	said := ""
	if err = p.send(order{c, dir}); err == nil {
		said, err = lines.ReadString('\n')
	}
	if number, ok := strings.CutPrefix(said, statusStarted); ok {
		p.PID, err = strconv.Atoi(strings.TrimSpace(number))
	}
	if p.PID == 0 {
		p.Kill()
		failed := p.keeper.Wait()
		close(p.gone)
		_ = status.Close()
		why, told := strings.CutPrefix(strings.TrimSpace(said), statusFailed)
		switch {
		case told:
			return nil, errors.New(why)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("start %s: its keeper ended: %w", c.Args[0], errors.Join(failed, err))
	}
	go p.watch(lines, status)
	return p, nil
}

// startKeeper starts this binary as a keeper. The three files become the keeper's, to be passed on.
func startKeeper(name string, stdin, stdout, stderr *os.File) (control, status *os.File, keeper *exec.Cmd, err error) {
	self := "/proc/self/exe" // this very binary, also when another has taken its place on disk
	if runtime.GOOS != "linux" {
		if self, err = os.Executable(); err != nil {
			return nil, nil, nil, err
		}
	}
	theirControl, control, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	defer theirControl.Close()
	status, theirStatus, err := os.Pipe()
	if err != nil {
		_ = control.Close()
		return nil, nil, nil, err
	}
	defer theirStatus.Close()
	keeper = exec.Command(self, Subcommand, name) //nolint:noctx // it outlives the request that starts it; Kill ends it
	keeper.Env = []string{}
	keeper.Dir = "/"
	keeper.Stdin, keeper.Stdout, keeper.Stderr = stdin, stdout, stderr
	keeper.ExtraFiles = []*os.File{theirControl, theirStatus}
	keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what a terminal sends is not for it
	if err := keeper.Start(); err != nil {
		_, _ = control.Close(), status.Close()
		return nil, nil, nil, err
	}
	return control, status, keeper, nil
}

func (p *Process) send(o order) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = p.control.Write(append(line, '\n'))
	return err
}

// watch learns how the command ended. A keeper that ends without saying so was killed itself; then the command's group
// is killed from here.
func (p *Process) watch(lines *bufio.Reader, status *os.File) {
	said, _ := lines.ReadString('\n')
	failed := p.keeper.Wait()
	_ = status.Close()
	how, ok := strings.CutPrefix(strings.TrimSpace(said), statusEnded)
	if !ok {
		_ = syscall.Kill(-p.PID, syscall.SIGKILL)
		how = fmt.Sprintf("its keeper was ended (%v)", failed)
	}
	p.err = errors.New(how)
	close(p.gone)
	p.Kill() // closes control
}

// Wait waits until the command and all that it left behind have ended, and says how the command did.
func (p *Process) Wait() error {
	<-p.gone
	return p.err
}

// Terminate asks the command and its children to end.
func (p *Process) Terminate() { _, _ = p.control.Write([]byte{askToEnd}) }

// killTime is how long a keeper has to end everything before it is ended itself.
const killTime = 5 * time.Second

// Kill ends the command and everything that it started.
func (p *Process) Kill() {
	p.killing.Do(func() {
		_ = p.control.Close()
		late := time.AfterFunc(killTime, func() { _ = p.keeper.Process.Kill() }) // the command dies with it
		go func() {
			<-p.gone
			late.Stop()
		}()
	})
}
