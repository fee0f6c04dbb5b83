package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

const docs = "../../docs/"

func TestSchemaIsPublished(t *testing.T) {
	t.Parallel()
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, docs+"config.schema.json", string(schema))
}

// TestSchemaAgrees: the schema accepts what the checks accept, and refuses unknown keys as they do.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		t.Fatal(err)
	}
	validate := func(file string) error {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return resolved.Validate(parseDocument(file, "", data, &report{}).plain())
	}
	good, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(good, exampleFiles(t)...) {
		if err := validate(file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, name := range []string{"unknown_key", "endpoint_missing_access", "master_key_missing", "wrong_types", "secret_typo", "sign_in_oidc_incomplete", "master_key_inline"} {
		if validate("testdata/faults/"+name+".yaml") == nil {
			t.Errorf("the schema accepts %s", name)
		}
	}
}

// TestReferenceIsPublished keeps the list of keys in docs/config.md in step; the rest of the page is written by hand.
func TestReferenceIsPublished(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- keys: written by go test ./internal/config -update -->\n", "<!-- end of keys -->\n"
	page, err := os.ReadFile(docs + "config.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("docs/config.md has lost its markers")
	}
	golden(t, docs+"config.md", before+begin+Reference()+"\n"+end+after)
}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../examples/*/gatehouse*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	return files
}
