package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/internal/doctor"
)

func newDoctor(s streams) *cobra.Command {
	var in installation
	var o app.DoctorOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at the whole set-up from outside, and say what is wrong and what to do",
		Long: `Walks the set-up as a client would: name, TLS, clock, the 401 and where it leads, metadata, proxies on the way,
streams, identity providers, targets, database, disk. Each finding says what was found, what was expected, and the fix;
its code is stable and stands in docs/reasons.md. Nothing is changed and nobody is signed in. Targets that are commands
are started and stopped again.

It is for a running Gatehouse, on the machine that it runs on. With --before-start it looks at what can be known before
the first start. The exit code is 1 when something does not work; warnings do not count.`,
		Example: `  gatehouse doctor -c gatehouse.yaml
  gatehouse doctor -c gatehouse.yaml --before-start
  gatehouse doctor -c gatehouse.yaml --json | jq '.findings[] | select(.status == "fail")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := examine(cmd, s, &in, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = printFindingsJSON(s.out, found)
			} else {
				printFindings(s.out, found, canvasOf(s.out))
			}
			if err == nil && doctor.Count(found, doctor.Fail) > 0 {
				return errSilent
			}
			return err
		},
	}
	in.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&o.BeforeStart, "before-start", false, "Gatehouse does not run yet: look at what can be known without it")
	cmd.Flags().StringVar(&o.RedirectURI, "redirect-uri", "", "redirect URI of an MCP client, such as http://localhost:3334/oauth/callback: begins a sign-in with it at providers to which clients are sent")
	return cmd
}

// examine looks at the set-up. A configuration that cannot be read is all that there is to say then.
func examine(cmd *cobra.Command, s streams, in *installation, o app.DoctorOptions) ([]doctor.Finding, error) {
	c, err := in.config()
	var faults config.Faults
	if errors.As(err, &faults) {
		return findingsOf(faults, doctor.Fail, doctor.ConfigFault), nil
	}
	if err != nil {
		return nil, err
	}
	o.File, o.Version = in.file, version
	if isTerminal(s.err) {
		o.Progress = progressLine(s.err)
		defer fmt.Fprint(s.err, "\r\x1b[K")
	}
	found, err := app.Doctor(cmd.Context(), c, o)
	if err != nil {
		return nil, err
	}
	settings := findingsOf(c.Warnings, doctor.Warn, doctor.ConfigWarning)
	if len(settings) == 0 {
		settings = []doctor.Finding{{Status: doctor.OK, About: "configuration", Check: "settings", Found: cmp.Or(in.file, "the quickstart")}}
	}
	return append(settings, found...), nil
}

func findingsOf(faults config.Faults, status doctor.Status, code doctor.Code) []doctor.Finding {
	var out []doctor.Finding
	for _, f := range faults {
		found := f.Message
		if f.Path != "" {
			found = f.Path + ": " + found
		}
		if f.Line > 0 {
			found = fmt.Sprintf("line %d: %s", f.Line, found)
		}
		out = append(out, doctor.Finding{Status: status, Code: code, About: "configuration", Check: "settings", Found: found, Fix: f.Hint})
	}
	return out
}

// progressLine shows on one line of a terminal what is being looked at.
func progressLine(w io.Writer) doctor.Progress {
	return func(running []string, done, all int) {
		text := fmt.Sprintf("%d of %d looked at", done, all)
		if len(running) > 0 {
			text += ", now " + strings.Join(running, ", ")
		}
		if width := canvasOf(w).width; utf8.RuneCountInString(text) >= width {
			text = string([]rune(text)[:max(width-2, 1)]) + "…"
		}
		fmt.Fprintf(w, "\r\x1b[K%s", printable(text))
	}
}

func printFindingsJSON(w io.Writer, found []doctor.Finding) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Findings []doctor.Finding `json:"findings"`
		OK       int              `json:"ok"`
		Warnings int              `json:"warnings"`
		Failures int              `json:"failures"`
	}{found, doctor.Count(found, doctor.OK), doctor.Count(found, doctor.Warn), doctor.Count(found, doctor.Fail)})
}

// canvas is what can be drawn on.
type canvas struct {
	colour bool
	width  int // in characters; very wide where lines are not broken
}

func canvasOf(w io.Writer) canvas {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return canvas{width: 1 << 20}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 40 {
		width = 80
	}
	return canvas{os.Getenv("NO_COLOR") == "", width}
}

func (c canvas) paint(code, text string) string {
	if !c.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// printFindings writes a table: one part of the installation after the other, a line a check, and below what is wrong
// what was expected and what to do.
func printFindings(w io.Writer, found []doctor.Finding, c canvas) {
	marks := map[doctor.Status]string{
		doctor.OK: c.paint("32", "ok  "), doctor.Warn: c.paint("33", "WARN"), doctor.Fail: c.paint("31", "FAIL"), doctor.Skip: c.paint("2", "-   "),
	}
	column := len("expected")
	for _, f := range found {
		column = max(column, utf8.RuneCountInString(f.Check))
	}
	row := func(mark, name, text string) {
		for i, line := range wrap(printable(text), c.width-column-10) {
			if i > 0 {
				mark, name = "    ", ""
			}
			fmt.Fprintf(w, "  %s  %s%s  %s\n", mark, name, strings.Repeat(" ", column-utf8.RuneCountInString(name)), line)
		}
	}
	about := ""
	for _, f := range found {
		if f.About != about {
			if about != "" {
				fmt.Fprintln(w)
			}
			about = f.About
			fmt.Fprintln(w, c.paint("1", printable(about)))
		}
		row(marks[f.Status], printable(f.Check), f.Found)
		for _, more := range []struct{ name, text string }{{"expected", f.Expected}, {"fix", f.Fix}, {"code", string(f.Code)}} {
			if more.text != "" {
				row("    ", more.name, more.text)
			}
		}
	}
	fmt.Fprintf(w, "\n%d ok, %s, %s\n", doctor.Count(found, doctor.OK), count(doctor.Count(found, doctor.Warn), "warning", "warnings"),
		count(doctor.Count(found, doctor.Fail), "failure", "failures"))
}

// wrap breaks text between words into lines of at most width characters, where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
