package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// frame is one function in the tree of calls, with what it and all that it calls took.
type frame struct {
	name  string
	took  time.Duration
	calls map[string]*frame
}

func (f *frame) call(name string) *frame {
	c := f.calls[name]
	if c == nil {
		c = &frame{name: name, calls: map[string]*frame{}}
		f.calls[name] = c
	}
	return c
}

// draw writes a profile as a picture.
func draw(profile, svg string) error {
	if svg == "" {
		return errors.New("name the picture with --svg FILE")
	}
	out, err := exec.Command("go", "tool", "pprof", "-traces", profile).Output()
	if err != nil {
		return fmt.Errorf("read %s with go tool pprof: %w", profile, err)
	}
	root, err := readTraces(out)
	if err != nil {
		return fmt.Errorf("read %s: %w", profile, err)
	}
	picture := drawSVG(root)
	say("%s: %d KiB", svg, len(picture)>>10)
	return os.WriteFile(svg, picture, 0o644)
}

var traceValue = regexp.MustCompile(`^\s*(\d[\d.]*(?:ns|us|µs|ms|s|mins))\s+(\S.*)$`)

// readTraces reads what pprof -traces prints: for each trace a time and the functions, the innermost first.
func readTraces(text []byte) (*frame, error) {
	root := &frame{name: "Gatehouse", calls: map[string]*frame{}}
	var (
		took  time.Duration
		stack []string
	)
	end := func() {
		if took == 0 {
			return
		}
		at := root
		root.took += took
		for _, name := range shorten(stack) {
			at = at.call(name)
			at.took += took
		}
		took, stack = 0, nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "-----------+") {
			end()
			continue
		}
		if m := traceValue.FindStringSubmatch(line); m != nil && stack == nil {
			var err error
			if took, err = time.ParseDuration(strings.Replace(m[1], "mins", "m", 1)); err != nil {
				return nil, err
			}
			stack = append(stack, m[2])
		} else if took > 0 {
			stack = append(stack, strings.TrimSpace(line))
		}
	}
	end()
	if root.took == 0 {
		return nil, errors.New("there are no samples in it")
	}
	return root, lines.Err()
}

// shorten turns a stack, innermost first, into the frames that are drawn, outermost first. What all goroutines begin with,
// what only hands on, and what goes on inside the runtime and on the way into the kernel is left out.
func shorten(stack []string) []string {
	var out []string
	for _, full := range slices.Backward(stack) {
		full = strings.TrimSuffix(full, " (inline)")
		name, inside := frameName(full, stack)
		if name != "" && (len(out) == 0 || out[len(out)-1] != name) {
			out = append(out, name)
		}
		if inside {
			break
		}
	}
	return out
}

var (
	closure  = regexp.MustCompile(`(\.(func)?\d+|\.gowrap\d+|-fm|-range\d+)+$`)
	generic  = regexp.MustCompile(`\[[^\]]*\]`)
	receiver = regexp.MustCompile(`\(\*?([^)]*)\)`)
)

// passing are functions that only hand on.
var passing = []string{"net/http.HandlerFunc.ServeHTTP", "sync.(*WaitGroup).Go", "internal/httpd.(*Server).start", "runtime.goexit", "runtime.main"}

// frameName names a function as it is drawn, and reports whether nothing below it is.
func frameName(full string, stack []string) (name string, inside bool) {
	full = generic.ReplaceAllString(full, "")
	for _, p := range passing {
		if strings.HasSuffix(closure.ReplaceAllString(full, ""), p) {
			return "", false
		}
	}
	slash := strings.LastIndexByte(full, '/') + 1
	dot := strings.IndexByte(full[slash:], '.')
	if dot < 0 {
		return full, false
	}
	path, rest := full[:slash+dot], closure.ReplaceAllString(full[slash+dot+1:], "")
	switch {
	case path == "syscall" || path == "internal/runtime/syscall/linux" || path == "golang.org/x/sys/unix":
		return "kernel: " + systemCall(stack), true
	case path == "internal/poll" || path == "net" && !strings.Contains(rest, "Resolver"):
		return "", false
	case path == "runtime" || path == "internal/runtime/maps" || strings.HasPrefix(path, "internal/runtime/") || path == "gcWriteBarrier" || path == "internal/bytealg":
		return runtimeName(path, rest, stack), true
	}
	parts := strings.Split(rest, ".")
	last := parts[len(parts)-1]
	if n := len(parts); n > 1 && strings.HasPrefix(parts[n-2], "(") {
		last = receiver.ReplaceAllString(parts[n-2], "$1") + "." + last
	}
	return path[strings.LastIndexByte(path, '/')+1:] + "." + last, false
}

// systemCall is the name of the system call that a stack ends in.
func systemCall(stack []string) string {
	for _, s := range stack {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(s, " (inline)"), "syscall."); ok && !strings.Contains(strings.ToLower(rest), "syscall") {
			return strings.ToLower(rest)
		}
	}
	return "others"
}

// runtimeName says what the runtime does in plain words.
func runtimeName(path, name string, stack []string) string {
	has := func(texts ...string) bool {
		return slices.ContainsFunc(stack, func(s string) bool {
			return slices.ContainsFunc(texts, func(t string) bool { return strings.HasPrefix(s, "runtime."+t) })
		})
	}
	switch {
	case has("gcBgMarkWorker", "bgsweep", "bgscavenge", "gcStart", "gcAssist", "gcDrain", "gcMark"):
		return "runtime: collect garbage"
	case has("mallocgc", "newobject", "growslice", "makeslice"):
		return "runtime: allocate"
	case has("schedule", "findRunnable", "park_m", "mcall", "goready", "ready", "netpoll", "mstart", "usleep", "futex", "gopark", "exitsyscall", "entersyscall"):
		return "runtime: scheduler"
	case path == "internal/runtime/maps" || strings.HasPrefix(name, "map"):
		return "runtime: maps"
	case has("memmove", "memclr", "memequal") || path == "internal/bytealg":
		return "runtime: copy and compare"
	}
	return "runtime: others"
}
