package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// quietRuntime are variables of the environment that keep Go from interrupting goroutines by signals, at which callgrind now
// and then gives up, and from collecting garbage, which it does too seldom for a count. What collecting takes goes with the
// bytes that are allocated.
func quietRuntime() []string { return []string{"GODEBUG=asyncpreemptoff=1", "GOGC=off"} }

// callgrind runs a program under callgrind and counts its instructions, function by function
// (https://valgrind.org/docs/manual/cl-manual.html and cl-format.html).
type callgrind struct {
	out string // the file that counts are written to; each time, a number is added to its name
}

func newCallgrind(dir string) callgrind { return callgrind{filepath.Join(dir, "callgrind")} }

// command is what starts the program.
func (c callgrind) command(program string) []string {
	return []string{
		"valgrind", "--tool=callgrind", "--instr-atstart=no", "--compress-strings=no", "--compress-pos=no",
		"--callgrind-out-file=" + c.out, program,
	}
}

// count runs f and returns how many instructions the process took meanwhile, by function.
func (c callgrind) count(pid int, f func() error) (map[string]int64, error) {
	if err := tell(pid, "--instr=on"); err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	if err := tell(pid, "--instr=off"); err != nil {
		return nil, err
	}
	before, _ := filepath.Glob(c.out + ".*")
	if err := tell(pid, "--dump"); err != nil {
		return nil, err
	}
	after, _ := filepath.Glob(c.out + ".*")
	if len(after) != len(before)+1 {
		return nil, fmt.Errorf("callgrind wrote %d files, not one", len(after)-len(before))
	}
	return readCallgrind(fmt.Sprintf("%s.%d", c.out, len(after)))
}

// tell makes callgrind do something.
func tell(pid int, what string) error {
	if out, err := exec.Command("callgrind_control", what, strconv.Itoa(pid)).CombinedOutput(); err != nil {
		return fmt.Errorf("callgrind_control %s: %w\n%s", what, err, out)
	}
	return nil
}

// readCallgrind reads a file of callgrind. Of interest are three kinds of lines: "fn=" begins a function, "calls=" says that the
// next line counts what it called, and other lines that begin with a digit count its own. SHA-256 is left out.
func readCallgrind(file string) (map[string]int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	by, name, callees, hashed := map[string]int64{}, "", false, false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		key, value, isKey := strings.Cut(line, "=")
		switch {
		case key == "fn":
			name, _, _ = strings.Cut(value, "'") // a number behind it says how deep it called itself
			hashed = hashed || isSHA256(name)
		case key == "calls":
			callees = true
		case isKey || line == "" || line[0] < '0' || line[0] > '9':
		case callees:
			callees = false
		case !isSHA256(name):
			_, cost, _ := strings.Cut(line, " ")
			n, err := strconv.ParseInt(cost, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("read %s: line %q: %w", file, line, err)
			}
			by[name] += n
		}
	}
	if !hashed { // each call looks up its token by SHA-256
		return nil, fmt.Errorf("%s does not count calls, or names no functions: the program must not be built with -ldflags -s", file)
	}
	return by, lines.Err()
}

func isSHA256(function string) bool { return strings.Contains(function, "sha256.block") }
