package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
)

// Measures of the picture, in pixels.
const (
	svgWidth  = 1200
	rowHeight = 18
	charWidth = 6.1
	topSpace  = 52
)

// family is a group of functions that have a colour.
type family struct {
	name        string
	packages    string // separated by spaces
	light, dark string
}

var families = []family{
	{"kernel", "kernel:", "#f2b8b5", "#7d2e2b"},
	{"Go's runtime", "runtime:", "#d8dadd", "#4a4f57"},
	{"HTTP in front, and towards servers", "httpd web", "#b9d4f5", "#1f4f86"},
	{"who asks, and may they", "authn policy dpop identity jose session", "#bfe3c0", "#2b6133"},
	{"MCP", "gateway mcp router app", "#fbdcae", "#7a5310"},
	{"server behind", "target upauth", "#dccbf3", "#563585"},
	{"records", "audit telemetry slog", "#b5e2e0", "#1d5f5c"},
	{"other packages", "", "#ebe5d3", "#57503c"},
}

func familyOf(name string) int {
	own, _, _ := strings.Cut(name, ".")
	if before, _, ok := strings.Cut(name, ": "); ok {
		own = before + ":"
	}
	for i, f := range families {
		if slices.Contains(strings.Fields(f.packages), own) {
			return i
		}
	}
	return len(families) - 1
}

// drawSVG draws the tree downwards: what a function calls stands below it, as wide as it took. There is no script in it,
// and it follows the reader's choice of light and dark.
func drawSVG(root *frame) []byte {
	var boxes bytes.Buffer
	deepest := 0
	var place func(f *frame, x float64, depth int)
	place = func(f *frame, x float64, depth int) {
		deepest = max(deepest, depth)
		share := float64(f.took) / float64(root.took)
		width := share * svgWidth
		y := topSpace + depth*rowHeight
		kind := familyOf(f.name)
		if depth == 0 {
			kind = len(families) - 1
		}
		label := fmt.Sprintf("%s %.1f %%", f.name, 100*share)
		fmt.Fprintf(&boxes, "<g><title>%s</title><rect class=\"f%d\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>", html.EscapeString(label), kind, x, y, max(width-0.6, 0.4), rowHeight-1)
		if text := fit(label, f.name, width-6); text != "" {
			fmt.Fprintf(&boxes, "<text x=\"%.1f\" y=\"%d\">%s</text>", x+3, y+rowHeight-6, html.EscapeString(text))
		}
		boxes.WriteString("</g>\n")
		children := make([]*frame, 0, len(f.calls))
		for _, c := range f.calls {
			children = append(children, c)
		}
		slices.SortFunc(children, func(a, b *frame) int { return cmp.Or(cmp.Compare(b.took, a.took), cmp.Compare(a.name, b.name)) })
		for _, c := range children {
			if float64(c.took)/float64(root.took) < 0.0015 {
				break
			}
			place(c, x, depth+1)
			x += float64(c.took) / float64(root.took) * svgWidth
		}
	}
	place(root, 0, 0)

	height := topSpace + (deepest+1)*rowHeight + 4
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Flame graph of Gatehouse under load">`+"\n", svgWidth, height, svgWidth, height)
	b.WriteString("<style>text{font:10px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1f2328}.b{fill:#fff}")
	for i, f := range families {
		fmt.Fprintf(&b, ".f%d{fill:%s}", i, f.light)
	}
	b.WriteString("@media (prefers-color-scheme:dark){text{fill:#f0f3f6}.b{fill:#0d1117}")
	for i, f := range families {
		fmt.Fprintf(&b, ".f%d{fill:%s}", i, f.dark)
	}
	b.WriteString("}</style>\n")
	fmt.Fprintf(&b, "<rect class=\"b\" width=\"%d\" height=\"%d\"/>\n", svgWidth, height)
	b.WriteString("<text x=\"3\" y=\"14\">Share of the process's CPU time. What a function calls stands below it; opened alone, the picture names a box under the pointer.</text>\n")
	x := 3.0
	for i, f := range families {
		fmt.Fprintf(&b, "<rect class=\"f%d\" x=\"%.0f\" y=\"24\" width=\"12\" height=\"12\"/><text x=\"%.0f\" y=\"34\">%s</text>\n", i, x, x+16, html.EscapeString(f.name))
		x += 16 + float64(len(f.name))*charWidth + 18
	}
	b.Write(boxes.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// fit cuts a label so that it fits: first the share goes, then the package, then the end.
func fit(label, name string, width float64) string {
	n := int(width / charWidth)
	short := name[strings.LastIndexAny(name, ". ")+1:]
	switch {
	case n >= len(label):
		return label
	case n >= len(name):
		return name
	case n >= len(short):
		return short
	case n < 4:
		return ""
	}
	return short[:n-1] + "…"
}
