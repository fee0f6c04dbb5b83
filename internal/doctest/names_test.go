package doctest

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading     = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(d.text, ""), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			file := d.path
			if to != "" {
				file = path.Join(path.Dir(d.path), to)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s, which is not there", d.path, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(oneDocument(t, file)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", d.path, m[1])
			}
		}
	}
}

func anchors(d document) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(d.text, -1) {
		out = append(out, strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

var ownPath = regexp.MustCompile(`(?:^|[\s(=./\x60])((?:cmd|internal|docs|e2e|examples|deploy)/[\w./*-]*\w)`)

func TestPathsExist(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, code := range d.code() {
			for _, m := range ownPath.FindAllStringSubmatch(code, -1) {
				if strings.Contains(m[1], "NAME") {
					continue
				}
				if found, err := filepath.Glob(filepath.Join(root, m[1])); err != nil || len(found) == 0 {
					t.Errorf("%s names %s, which is not there", d.path, m[1])
				}
			}
		}
	}
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

func TestTestsExist(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"TestName": true, "FuzzName": true, "TestChecklist": true}
	for _, m := range inTests(t, declared) {
		known[m[1]] = true
	}
	for _, d := range documents(t) {
		for _, code := range d.code() {
			for _, name := range testName.FindAllString(code, -1) {
				if !known[name] {
					t.Errorf("%s names %s, which no package has", d.path, name)
				}
			}
		}
	}
}

// inTests returns the matches, with their groups, in all files of tests.
func inTests(t *testing.T, what *regexp.Regexp) (all [][]string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(p)
		all = append(all, what.FindAllStringSubmatch(string(raw), -1)...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	stepRow    = regexp.MustCompile("(?m)^\\| [^|]*\\| `([\\w/.]+\\.go)` \\| ([^|]*) \\|")
	somewhere  = regexp.MustCompile("`(\\w+)` in\\s+`([\\w/.]+\\.go)`")
	identifier = regexp.MustCompile("`(\\w+)`")
)

// What ARCHITECTURE.md says where to find is declared there.
func TestArchitectureNamesFunctions(t *testing.T) {
	t.Parallel()
	text := read(t, "ARCHITECTURE.md")
	check := func(file, name string) {
		if !regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|type )` + name + `\b`).MatchString(read(t, file)) {
			t.Errorf("ARCHITECTURE.md says that %s is in %s; it is not", name, file)
		}
	}
	rows := stepRow.FindAllStringSubmatch(text, -1)
	if len(rows) < 20 {
		t.Fatalf("found only %d rows with steps", len(rows))
	}
	for _, row := range rows {
		for _, name := range identifier.FindAllStringSubmatch(row[2], -1) {
			check(row[1], name[1])
		}
	}
	for _, m := range somewhere.FindAllStringSubmatch(text, -1) {
		check(m[2], m[1])
	}
}

var (
	levelRow  = regexp.MustCompile("(?m)^\\| (\\d) \\| `([\\w/]+)` \\|")
	levelLine = regexp.MustCompile(`(?m)^\t+(\d): +\{(".*")\},$`)
)

// The table of packages is the one by which archtest checks the imports.
func TestLevelsAreThoseOfTheArrows(t *testing.T) {
	t.Parallel()
	told := map[string]string{}
	for _, m := range levelRow.FindAllStringSubmatch(read(t, "ARCHITECTURE.md"), -1) {
		told[m[2]] = m[1]
	}
	held := map[string]string{}
	for _, m := range levelLine.FindAllStringSubmatch(read(t, "internal/archtest/arrows_test.go"), -1) {
		for pkg := range strings.SplitSeq(m[2], ", ") {
			held[strings.Trim(pkg, `"`)] = m[1]
		}
	}
	if len(held) < 15 {
		t.Fatalf("found only %d packages in internal/archtest/arrows_test.go", len(held))
	}
	for pkg, level := range held {
		if told[pkg] != level {
			t.Errorf("package %s has level %s, ARCHITECTURE.md says %q", pkg, level, told[pkg])
		}
	}
	for pkg := range told {
		if held[pkg] == "" {
			t.Errorf("ARCHITECTURE.md has package %s, which has no level", pkg)
		}
	}
}

var (
	required = regexp.MustCompile(`(?m)^\t(\S+) v\S+$`)
	reasoned = regexp.MustCompile(`(?m)^- \*\*(\S+)\*\* `)
)

// Every module that go.mod requires directly has its reason, and no other.
func TestModulesHaveReasons(t *testing.T) {
	t.Parallel()
	list := func(of *regexp.Regexp, file string) []string {
		var out []string
		for _, m := range of.FindAllStringSubmatch(read(t, file), -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	modules, reasons := list(required, "go.mod"), list(reasoned, "docs/adr/0004-modules.md")
	if !slices.Equal(modules, reasons) {
		t.Errorf("go.mod requires directly\n%s\ndocs/adr/0004-modules.md has reasons for\n%s", strings.Join(modules, "\n"), strings.Join(reasons, "\n"))
	}
}

var (
	makes      = regexp.MustCompile(`(?:^|[\s;])make ([a-z][a-z0-9-]*)`)
	makeTarget = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
)

func TestMakeTargetsExist(t *testing.T) {
	t.Parallel()
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	for _, d := range documents(t) {
		for _, code := range d.code() {
			for _, m := range makes.FindAllStringSubmatch(code, -1) {
				if !targets[m[1]] {
					t.Errorf("%s names make %s, which the Makefile has not", d.path, m[1])
				}
			}
		}
	}
}

var machinePath = regexp.MustCompile(`(?:^|[\s"'(=\x60])(?:/(?:home|Users|root|tmp|work)/|[A-Z]:\\)`)

func TestNoMachinePaths(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for line := range strings.SplitSeq(read(t, d.path), "\n") {
			if machinePath.MatchString(line) {
				t.Errorf("%s names a path of one machine: %s", d.path, line)
			}
		}
	}
}

func TestJSONBlocks(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language == "json" && !json.Valid([]byte(b.text)) {
				t.Errorf("%s has a block that is not JSON:\n%s", d.path, b.text)
			}
		}
	}
}
