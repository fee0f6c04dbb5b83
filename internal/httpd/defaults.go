package httpd

import (
	"maps"
	"net/http"
	"slices"
)

// Defaults are headers that answers have unless their handler says something else under the same name, or nothing: nil. They
// are written out once. In a map they would be put in, looked at and taken out for each answer.
type Defaults struct {
	names []string
	lines []string // with CR LF
	all   string   // all lines
}

// NewDefaults writes headers out. It leaves out what cannot be sent, as every answer does.
func NewDefaults(header http.Header) *Defaults {
	d := &Defaults{}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		line := string(appendHeader(nil, name, header[name]))
		d.names, d.lines, d.all = append(d.names, name), append(d.lines, line), d.all+line
	}
	return d
}

// append writes what a handler has not said otherwise.
func (d *Defaults) append(dst []byte, said http.Header) []byte {
	for i, name := range d.names {
		if _, ok := said[name]; !ok {
			dst = append(dst, d.lines[i]...)
		}
	}
	return dst
}

// SetDefaults gives the answer headers that do not show in Header. They may not be those that the server says alone, nor what
// says how the body is to be read.
func (w *response) SetDefaults(d *Defaults) { w.defaults = d }
