package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"

	"gatehouse/internal/secret"
)

const secretHint = "Write {file: path} or {env: NAME}."

// secret reads a secret: by reference, or inline where that is allowed.
func (d *decoder) secret(n *node, f field) (secret.Text, bool) {
	switch n.kind {
	case scalar:
		return d.inlineSecret(n, f)
	case mapping:
		return d.secretRef(n, f)
	}
	hideTree(n)
	d.fault(n, "is a list, not a secret", secretHint)
	return secret.Text{}, false
}

func (d *decoder) inlineSecret(n *node, f field) (secret.Text, bool) {
	hideTree(n)
	s, ok := n.value.(string)
	switch {
	case f.option.noInline:
		d.fault(n, "must not stand in the configuration file", secretHint)
	case !ok:
		d.fault(n, "is "+n.what()+", not text", "Put it in quotes, or better: "+secretHint)
	case s == "":
		d.fault(n, "is empty", secretHint)
	default:
		if !f.option.plain || soundsSecret(n.path) {
			d.warn(n, "is a secret in the configuration file, readable by all who may read the file", secretHint)
		}
		return secret.New(s), true
	}
	return secret.Text{}, false
}

// soundsSecret tells a credential from an ordinary header or variable by its name.
func soundsSecret(path string) bool {
	name := strings.ToLower(strings.TrimPrefix(path, parent(path)))
	for _, word := range []string{"authorization", "cookie", "token", "secret", "password", "passwd", "api-key", "api_key", "apikey", "credential", "private"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func (d *decoder) secretRef(n *node, f field) (secret.Text, bool) {
	var ref secretRef
	before := len(d.faults)
	d.structure(n, reflect.ValueOf(&ref).Elem())
	switch {
	case len(d.faults) > before:
		return secret.Text{}, false
	case ref.File != "" && ref.Env != "":
		d.fault(n, "names both a file and an environment variable", "Keep one of the two.")
		return secret.Text{}, false
	case ref.File == "" && ref.Env == "":
		d.fault(n, "names neither a file nor an environment variable", secretHint)
		return secret.Text{}, false
	case ref.Prefix != "" && !f.option.prefix:
		d.fault(n.get("prefix"), "is for headers only", "Remove it.")
		return secret.Text{}, false
	}
	value, ok := d.fetch(n, ref)
	if !ok {
		return secret.Text{}, false
	}
	return secret.New(ref.Prefix + value), true
}

// fetch reads what a reference names.
func (d *decoder) fetch(n *node, ref secretRef) (string, bool) {
	if ref.Env != "" {
		value, _ := d.getenv(ref.Env)
		if value == "" {
			d.fault(n.get("env"), fmt.Sprintf("the environment variable %s is not set or empty", ref.Env), "Set it for the process that runs Gatehouse, or use {file: path}.")
		}
		return value, value != ""
	}
	data, err := d.read(ref.File)
	value := strings.TrimRight(string(data), "\r\n")
	if err == nil && value == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		d.fault(n.get("file"), fmt.Sprintf("cannot read the secret from %s: %v", ref.File, err), "Check that the file exists, that Gatehouse may read it, and that it holds the value only.")
		return "", false
	}
	return value, true
}

// readFile reads a bounded file. Its error does not repeat the path.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, bare(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return data, nil
}

// bare takes operation and path off a file error, for messages that name both already.
func bare(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}
