package sandbox

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// access is what may be done below a path.
type access uint8

const (
	list    access = iota + 1 // read directories
	read                      // that, open files to read, run programs
	changes                   // that, and whatever else one can do to files
)

// allowance lets commands do something to a file, or to a directory and all that is below it.
type allowance struct {
	path string
	may  access
}

// maxAllowances bounds the fence: more means that something hidden lies in a directory with very many entries.
const maxAllowances = 20_000

// fence turns "everything here, but not what is hidden" into a list of what is allowed, for that is all that Landlock
// takes. A directory that leads to something hidden is not allowed as a whole; its other entries are, one by one. What
// is made in such a directory later is therefore out of reach too, and so is making anything there.
type fence struct {
	hidden  []string // clean absolute paths without symbolic links
	allowed []allowance
}

// allow adds what may be done at a path, which must not itself be hidden.
func (f *fence) allow(path string, may access) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if real, err = filepath.Abs(real); err != nil {
		return err
	}
	if f.hides(real) {
		return fmt.Errorf("%s is Gatehouse's own; a command cannot have it", path)
	}
	return f.add(real, may)
}

func (f *fence) add(path string, may access) error {
	if f.hides(path) {
		return nil
	}
	if !f.leadsToHidden(path) {
		if len(f.allowed) >= maxAllowances {
			return fmt.Errorf("more than %d files lie beside what has to be hidden, at last in %s; keep the state directory and the secrets in a directory of their own", maxAllowances, filepath.Dir(path))
		}
		f.allowed = append(f.allowed, allowance{path, may})
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil //nolint:nilerr // what Gatehouse cannot look into stays closed
	}
	for _, e := range entries {
		child := filepath.Join(path, e.Name())
		// A symbolic link needs no allowance: what counts is where it leads.
		if e.Type()&fs.ModeSymlink != 0 || e.IsDir() && isScratch(child) {
			continue
		}
		if err := f.add(child, may); err != nil {
			return err
		}
	}
	return nil
}

// hides reports whether a path is hidden or below something hidden.
func (f *fence) hides(path string) bool {
	for _, h := range f.hidden {
		if below(path, h) {
			return true
		}
	}
	return false
}

// leadsToHidden reports whether something hidden is below a path.
func (f *fence) leadsToHidden(path string) bool {
	for _, h := range f.hidden {
		if below(h, path) {
			return true
		}
	}
	return false
}

// below reports whether a path is another one or below it.
func below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(dir, "/"))
}

// whereabouts returns where a path really is, following symbolic links, also where what they lead to is not there yet.
func whereabouts(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest, links := "", 0
	for dir := path; ; {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !os.IsNotExist(err) || dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find what has to be hidden: %w", err)
		}
		if to, err := os.Readlink(dir); err == nil {
			if links++; links > maxLinks {
				return "", fmt.Errorf("find what has to be hidden: %s: too many symbolic links", path)
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(dir), to)
			}
			dir = filepath.Clean(to)
			continue
		}
		rest = filepath.Join(filepath.Base(dir), rest)
		dir = filepath.Dir(dir)
	}
}

// maxLinks is how many symbolic links may follow each other, as in the kernel (path_resolution(7)).
const maxLinks = 40

// systemFiles are what programs need beside files of their own. What is not there is left out.
func systemFiles() []allowance {
	all := []allowance{}
	for _, path := range []string{
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix", "/proc", "/sys",
		"/run/systemd/resolve", "/dev/fd",
	} {
		all = append(all, allowance{path, read})
	}
	for _, path := range []string{
		"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/shm", "/dev/pts", "/dev/ptmx",
	} {
		all = append(all, allowance{path, changes})
	}
	return all
}

// newFence says what a command may reach whose own directory is own.
func newFence(c *Command, scratch, own string, mounts []mount) (*fence, error) {
	f := &fence{}
	hidden := append([]string{scratch}, c.Hidden...)
	if c.Home != "" {
		hidden = append(hidden, filepath.Dir(c.Home)) // the homes of others
	}
	for _, h := range hidden {
		real, err := whereabouts(h)
		if err != nil {
			return nil, err
		}
		f.hidden = append(f.hidden, real)
		f.hidden = append(f.hidden, aliases(real, mounts)...)
	}
	if c.Read == nil && c.Write == nil {
		f.allowed = append(f.allowed, allowance{"/", list})
		if err := f.add("/", changes); err != nil {
			return nil, err
		}
	} else {
		for _, a := range systemFiles() {
			if err := f.allow(a.path, a.may); err != nil && !os.IsNotExist(err) {
				return nil, err
			}
		}
		for _, path := range c.Read {
			if err := f.allow(path, read); err != nil {
				return nil, fmt.Errorf("let the command read %s: %w", path, err)
			}
		}
		for _, path := range c.Write {
			if err := f.allow(path, changes); err != nil {
				return nil, fmt.Errorf("let the command write %s: %w", path, err)
			}
		}
	}
	if c.Dir != "" {
		if err := f.allow(c.Dir, changes); err != nil {
			return nil, fmt.Errorf("use the working directory %s: %w", c.Dir, err)
		}
	}
	if own, err := filepath.EvalSymlinks(own); err == nil {
		f.allowed = append(f.allowed, allowance{own, changes})
	}
	if c.Home != "" {
		home, err := whereabouts(c.Home)
		if err != nil {
			return nil, err
		}
		f.allowed = append(f.allowed, allowance{home, changes})
	}
	return f, nil
}
