package doctest

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	checklistItem = regexp.MustCompile(`(?m)^(\d+)\. `)
	checklistTest = regexp.MustCompile(`(?m)^func TestChecklist([\d_]*\d)(?:_[A-Z]\w*)?\(`)
)

// TestEveryChecklistItemIsTested: each item of docs/security-checklist.md has a test, and each test an item.
func TestEveryChecklistItemIsTested(t *testing.T) {
	t.Parallel()
	items, tested := map[string]bool{}, map[string]bool{}
	for _, m := range checklistItem.FindAllStringSubmatch(read(t, "docs/security-checklist.md"), -1) {
		items[m[1]] = true
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(p)
		for _, m := range checklistTest.FindAllStringSubmatch(string(raw), -1) {
			for _, item := range strings.Split(m[1], "_") {
				tested[item] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(items) == 0 || !maps.Equal(items, tested) {
		t.Errorf("items %v, tested are %v", slices.Sorted(maps.Keys(items)), slices.Sorted(maps.Keys(tested)))
	}
}
