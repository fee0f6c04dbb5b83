package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

// Options say where a configuration comes from.
type Options struct {
	File   string                           // its name, for messages
	Dir    string                           // what relative paths in it are relative to
	Getenv func(name string) (string, bool) // as os.LookupEnv, which is the default
}

// Load reads and checks a configuration file, and writes nothing. Its error is of type Faults when the file was read.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %s: %w; check the path, and that Gatehouse may read the file", path, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the directory of the configuration: %w", err)
	}
	c, err := Parse(data, Options{File: path, Dir: filepath.Dir(abs)})
	if err == nil {
		c.Read = append(c.Read, abs)
	}
	return c, err
}

// Parse checks a configuration. Its error is of type Faults.
func Parse(data []byte, o Options) (*Config, error) {
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	r := &report{dir: o.Dir, index: map[string]*node{}}
	root := parseDocument(o.File, "", data, r)
	if root == nil {
		return nil, finish(r.faults)
	}
	if root.kind != mapping {
		r.fault(root, "is "+root.what()+", not a mapping", "Write keys with values: docs/config.md lists them.")
		return nil, finish(r.faults)
	}
	r.add(root)
	c := &Config{}
	setDefaults(c)
	d := &decoder{report: r, getenv: o.Getenv}
	d.structure(root, reflect.ValueOf(c).Elem())
	c.StateDir = d.stateDir(c.StateDir)
	if r.index["registration.documents.enabled"] == nil { // who closed registration did not mean to leave another door open
		c.Registration.Documents.Enabled = c.Registration.Dynamic
	}
	derive(c)
	check(c, r)
	if len(r.faults) > 0 {
		return nil, finish(r.faults)
	}
	c.Warnings, c.Read = finish(r.warnings), r.files
	return c, nil
}

// stateDir resolves the state directory; systemd names one in the environment (systemd.exec(5)).
func (d *decoder) stateDir(set string) string {
	if set != "" {
		return set
	}
	if dir, _ := d.getenv("STATE_DIRECTORY"); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(d.dir, "gatehouse-state")
}
