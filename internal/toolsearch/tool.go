package toolsearch

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Tool is what can be found about one tool. Server and About are the target's name and what it says about itself.
type Tool struct {
	Name, Title, Description string
	Server, About            string
	Params                   []Param
}

// Param is one parameter, with those inside it.
type Param struct{ Name, Description string }

// Bounds on what is read of one tool: a definition may be large, and words far down say little.
const (
	maxText   = 4 << 10 // bytes of one description
	maxParams = 200
	maxLevels = 4 // of objects within objects
)

// Parse reads a definition as it stands in tools/list. What it cannot read it leaves out.
func Parse(raw []byte) Tool {
	var d struct {
		Name        string `json:"name"`
		Title       string `json:"title"`
		Description string `json:"description"`
		Annotations struct {
			Title string `json:"title"`
		} `json:"annotations"`
		InputSchema json.RawMessage `json:"inputSchema"`
	}
	_ = json.Unmarshal(raw, &d) // the parts that are as they should be are there
	t := Tool{Name: d.Name, Title: d.Title, Description: cut(d.Description)}
	if t.Title == "" {
		t.Title = d.Annotations.Title
	}
	t.addParams(d.InputSchema, 0)
	return t
}

// addParams collects the properties of a schema, by name.
func (t *Tool) addParams(schema []byte, level int) {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Items      json.RawMessage            `json:"items"`
	}
	if level >= maxLevels || json.Unmarshal(schema, &s) != nil {
		return
	}
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if len(t.Params) >= maxParams {
			return
		}
		var p struct {
			Description string `json:"description"`
			Enum        []any  `json:"enum"`
		}
		_ = json.Unmarshal(s.Properties[name], &p) // as above
		text := p.Description
		for _, v := range p.Enum[:min(len(p.Enum), 20)] {
			if s, ok := v.(string); ok {
				text += " " + s
			}
		}
		t.Params = append(t.Params, Param{name, cut(text)})
		t.addParams(s.Properties[name], level+1)
	}
	if len(s.Items) > 0 {
		t.addParams(s.Items, level+1)
	}
}

func cut(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// words are a tool's words, by field.
func (t *Tool) words() (w [fields][]string) {
	w[inName] = split(t.Name)
	w[inTitle] = split(t.Title)
	w[inDescription] = split(t.Description)
	w[inServer] = split(t.Server)
	w[inServerText] = split(cut(t.About))
	for _, p := range t.Params {
		w[inParamNames] = append(w[inParamNames], split(p.Name)...)
		w[inParamText] = append(w[inParamText], split(p.Description)...)
	}
	return w
}

// Text is what a vector of the tool is made from.
func (t *Tool) Text() string {
	var b bytes.Buffer
	b.WriteString(t.Server + " " + t.Name)
	if t.Title != "" {
		b.WriteString(" (" + t.Title + ")")
	}
	b.WriteString(": " + t.Description)
	for i, p := range t.Params {
		if i == 0 {
			b.WriteString("\nParameters: ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(p.Name)
	}
	return cut(b.String())
}
