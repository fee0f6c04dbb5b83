package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Scratch is the place where commands have their own directories, one for each, empty when the command starts and gone
// after its end. It is made when it is first needed. Commands see their own directory only.
type Scratch struct {
	in string

	mu   sync.Mutex // guards path
	path string
}

// scratchPrefix begins the name of every scratch, so that commands of one Gatehouse stay out of another's.
const scratchPrefix = "gatehouse-work-"

// NewScratch returns a scratch that will be made in a directory; an empty name stands for the system's directory for
// temporary files.
func NewScratch(dir string) *Scratch {
	if dir == "" {
		dir = os.TempDir()
	}
	return &Scratch{in: dir}
}

// dir returns the scratch's path. Other users may pass through it, for a command that runs as one.
func (s *Scratch) dir() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" {
		if _, err := os.Lstat(s.path); err == nil {
			return s.path, nil
		}
	}
	in, err := filepath.Abs(s.in)
	if err == nil {
		in, err = filepath.EvalSymlinks(in)
	}
	if err != nil {
		return "", fmt.Errorf("make a directory for commands: %w; name one for temporary files in the environment variable TMPDIR", err)
	}
	path, err := os.MkdirTemp(in, scratchPrefix)
	if err == nil {
		err = os.Chmod(path, 0o711)
	}
	if err != nil {
		return "", fmt.Errorf("make a directory for commands in %s: %w; name another one in the environment variable TMPDIR", in, err)
	}
	s.path = path
	return path, nil
}

// Remove removes the scratch, once every command has ended.
func (s *Scratch) Remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" {
		return nil
	}
	err := os.Remove(s.path)
	if os.IsNotExist(err) {
		err = nil
	}
	s.path = ""
	return err
}

func isScratch(path string) bool { return strings.HasPrefix(filepath.Base(path), scratchPrefix) }
