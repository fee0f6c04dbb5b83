package config

import (
	"reflect"
	"slices"
	"strings"
)

// field is one key of one part of the configuration, as its struct tag describes it.
type field struct {
	name     string
	doc      string
	enum     []string
	index    []int
	typ      reflect.Type
	required bool // must be there
	path     bool // a file or directory, relative to the configuration file
	single   bool // a list that may be written as its only item
	option   secretOption
}

// secretOption says what a secret may be besides a reference.
type secretOption struct {
	plain    bool // an inline value is ordinary; it is warned about only when its name sounds secret
	noInline bool // an inline value is a fault
	prefix   bool // a reference may name text to put before the value
}

// fieldsOf lists the keys of a struct in order. keyIndex is where the name of a keyed part goes; nil for others.
func fieldsOf(t reflect.Type) (fields []field, keyIndex []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		opts := strings.Split(options, ",")
		switch {
		case name == "-":
			continue
		case slices.Contains(opts, "inline"):
			inner, _ := fieldsOf(sf.Type)
			for _, f := range inner {
				f.index = append([]int{i}, f.index...)
				fields = append(fields, f)
			}
			continue
		case slices.Contains(opts, "key"):
			keyIndex = []int{i}
			continue
		}
		f := field{
			name: name, doc: sf.Tag.Get("doc"), index: []int{i}, typ: sf.Type,
			required: slices.Contains(opts, "required"),
			path:     slices.Contains(opts, "path"),
			single:   slices.Contains(opts, "single"),
			option: secretOption{
				plain:    slices.Contains(opts, "plain"),
				noInline: slices.Contains(opts, "noinline"),
				prefix:   slices.Contains(opts, "prefix"),
			},
		}
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, ",")
		}
		fields = append(fields, f)
	}
	return fields, keyIndex
}

// secretRef is a secret as the file refers to it.
type secretRef struct {
	File   string `yaml:"file,path" doc:"File that holds the value; a line break at its end is dropped."`
	Env    string `yaml:"env" doc:"Environment variable that holds the value."`
	Prefix string `yaml:"prefix" doc:"Text to put before the value, such as Bearer and a space."`
}
