package config

import (
	"fmt"
	"strings"
)

// Fault is one thing wrong with a configuration, and what to do about it.
type Fault struct {
	File    string // the file it stands in
	Path    string // such as clients[0].redirect_uris[1]; empty for the file as a whole
	Line    int    // from 1; 0 when it has no place
	Column  int    // from 1
	Source  string // the line, with secrets cut off; may be empty
	Message string
	Hint    string // may be empty
}

// Faults are all things wrong with a configuration, in the order of the file.
type Faults []Fault

// Error lists the faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, 0, len(f))
	for _, one := range f {
		lines = append(lines, one.headline())
	}
	return strings.Join(lines, "\n")
}

func (f Fault) headline() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Format shows faults to a person: each with its source line, a caret under the place, and the hint.
func Format(faults Faults) string {
	var b strings.Builder
	for i, f := range faults {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(f.headline() + "\n")
		if f.Source != "" {
			number := fmt.Sprint(f.Line)
			fmt.Fprintf(&b, "  %s | %s\n", number, f.Source)
			fmt.Fprintf(&b, "  %s | %s^\n", strings.Repeat(" ", len(number)), indent(f.Source, f.Column))
		}
		if f.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", f.Hint)
		}
	}
	return b.String()
}

// indent is the white space that puts a caret under a column; tabs stay tabs.
func indent(source string, column int) string {
	var b strings.Builder
	for i, r := range []rune(source) {
		if i >= column-1 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}
