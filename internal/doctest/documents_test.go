// Package doctest holds the tests of what the documents promise: commands run, settings pass the check, links lead
// somewhere, and what ARCHITECTURE.md names is there. It contains no code of the program.
package doctest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// document is one Markdown file of the repository.
type document struct {
	path   string // from the root, with slashes
	text   string // without fenced blocks
	blocks []block
}

// block is one fenced block.
type block struct{ language, text string }

var fenced = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// documents reads every Markdown file that belongs to the repository.
func documents(t *testing.T) []document {
	t.Helper()
	var out []document
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "testdata", "artifacts", "bin", "dist"}, d.Name())) {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(p) != ".md" {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		out = append(out, parse(filepath.ToSlash(rel), read(t, filepath.ToSlash(rel))))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("found only %d documents", len(out))
	}
	return out
}

func oneDocument(t *testing.T, path string) document { return parse(path, read(t, path)) }

func parse(path, raw string) document {
	d := document{path: path, text: fenced.ReplaceAllString(raw, "")}
	for _, m := range fenced.FindAllStringSubmatch(raw, -1) {
		d.blocks = append(d.blocks, block{m[1], m[2]})
	}
	return d
}

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// code returns everything in the document that is code: spans, and the lines of shell blocks.
func (d document) code() []string {
	var out []string
	for _, m := range codeSpan.FindAllStringSubmatch(d.text, -1) {
		out = append(out, m[1])
	}
	return append(out, d.commands()...)
}

// commands returns the commands of the shell blocks, one a line, without comments.
func (d document) commands() []string {
	var out []string
	for _, b := range d.blocks {
		if b.language != "sh" {
			continue
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(b.text, "\\\n", " "), "\n") {
			line, _, _ = strings.Cut(line, " #")
			for part := range strings.SplitSeq(line, "&&") {
				if part = strings.TrimSpace(part); part != "" {
					out = append(out, part)
				}
			}
		}
	}
	return out
}

var word = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)

// words splits a command as a shell would, as far as the documents need it.
func words(command string) []string {
	out := word.FindAllString(command, -1)
	for i, w := range out {
		if strings.HasPrefix(w, "'") || strings.HasPrefix(w, `"`) {
			out[i] = w[1 : len(w)-1]
		}
	}
	return out
}
