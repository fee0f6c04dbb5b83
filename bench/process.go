package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one program under test.
type process struct {
	cmd *exec.Cmd
	log *bytes.Buffer
}

// gatewayCore is the core of the program under test, and ownCore that of everything else. Without a second core, or
// without taskset, nothing is pinned.
const (
	gatewayCore = "0"
	ownCore     = "1"
)

func pinned(command []string) []string {
	if !canPin() {
		return command
	}
	return append([]string{"taskset", "-c", gatewayCore}, command...)
}

func canPin() bool {
	_, err := exec.LookPath("taskset")
	_, core := os.Stat("/sys/devices/system/cpu/cpu1")
	return err == nil && core == nil
}

// start starts a program, whose arguments follow its name, with more in its environment.
func start(env []string, command ...string) (*process, error) {
	pinned := pinned(command)
	p := &process{cmd: exec.Command(pinned[0], pinned[1:]...), log: &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// pids are the process and its children: nginx works in one.
func (p *process) pids() []int {
	own := p.cmd.Process.Pid
	out := []int{own}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		if fields := statFields(f); len(fields) > 1 && fields[1] == strconv.Itoa(own) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// statFields are the fields of /proc/PID/stat from the state on.
func statFields(file string) []string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	_, after, _ := strings.Cut(string(raw), ") ")
	return strings.Fields(after)
}

// cpu is the time that the process has used so far, as the scheduler counts it, to the nanosecond. Threads that have ended
// are missing; neither program ends any under load.
func (p *process) cpu() time.Duration {
	var total time.Duration
	for _, pid := range p.pids() {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			first, _, _ := strings.Cut(string(raw), " ")
			ns, _ := strconv.ParseInt(first, 10, 64)
			total += time.Duration(ns)
		}
	}
	return total
}

// memory is what the process holds in RAM, in bytes.
func (p *process) memory() int64 {
	var total int64
	for _, pid := range p.pids() {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(raw), "\n") {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				total += kib << 10
			}
		}
	}
	return total
}

// descriptors is how many files and connections the process has open.
func (p *process) descriptors() int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(entries)
}
