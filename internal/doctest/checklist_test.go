package doctest

import (
	"maps"
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
	for _, m := range inTests(t, checklistTest) {
		for _, item := range strings.Split(m[1], "_") {
			tested[item] = true
		}
	}
	if len(items) == 0 || !maps.Equal(items, tested) {
		t.Errorf("items %v, tested are %v", slices.Sorted(maps.Keys(items)), slices.Sorted(maps.Keys(tested)))
	}
}
