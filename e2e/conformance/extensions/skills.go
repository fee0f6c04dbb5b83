package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// file is one file of a skill.
type file struct{ uri, mimeType, text string }

// The skills: one with a directory, one without.
var (
	folded = []file{
		{"skill://acme/git-workflow/SKILL.md", "text/markdown", "---\nname: git-workflow\ndescription: How this team uses Git.\n---\nSee references/branches.md.\n"},
		{"skill://acme/git-workflow/references/branches.md", "text/markdown", "One branch a change.\n"},
		{"skill://acme/git-workflow/scripts/check.sh", "text/x-shellscript", "exit 0\n"},
	}
	plain = []file{{"skill://refunds/SKILL.md", "text/markdown", "---\nname: refunds\ndescription: How refunds are paid.\n---\nPay.\n"}}
)

func files() []file { return append(slices.Clone(folded), plain...) }

func entry(of []file) object {
	name := strings.Split(strings.TrimSuffix(of[0].uri, "/SKILL.md"), "/")
	_, description, _ := strings.Cut(of[0].text, "description: ")
	description, _, _ = strings.Cut(description, "\n")
	resources := make([]object, 0, len(of))
	for _, f := range of {
		resources = append(resources, object{"uri": f.uri, "digest": fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(f.text))), "size": len(f.text)})
	}
	return object{"uri": of[0].uri, "frontmatter": object{"name": name[len(name)-1], "description": description}, "resources": resources}
}

// skills is a list of two pages.
func skills(cursor string) (object, *fault) {
	switch cursor {
	case "":
		return kept(object{"skills": []object{entry(folded)}, "nextCursor": "second"}), nil
	case "second":
		return kept(object{"skills": []object{entry(plain)}}), nil
	}
	return nil, &fault{Code: invalidParams, Message: "Invalid cursor"}
}

func skill(uri string) (object, *fault) {
	for _, of := range [][]file{folded, plain} {
		if of[0].uri == uri {
			return kept(object{"skill": entry(of)}), nil
		}
	}
	return nil, &fault{Code: invalidParams, Message: "no skill"}
}

// listed are the resources that resources/list names: the manifest of one skill only, because files need not be listed.
func listed() []object {
	return []object{{"uri": folded[0].uri, "name": "git-workflow", "description": "How this team uses Git.", "mimeType": "text/markdown"}}
}

func read(uri string) (object, *fault) {
	for _, f := range files() {
		if f.uri == uri {
			return kept(object{"contents": []object{{"uri": f.uri, "mimeType": f.mimeType, "text": f.text}}}), nil
		}
	}
	return nil, &fault{Code: invalidParams, Message: "Resource not found", Data: object{"uri": uri}}
}

// children lists what is in a directory.
func children(uri string) (object, *fault) {
	var found []object
	var folders []string
	for _, f := range files() {
		rest, in := strings.CutPrefix(f.uri, uri+"/")
		if !in {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		switch {
		case !deeper:
			found = append(found, object{"uri": f.uri, "name": name, "mimeType": f.mimeType})
		case !slices.Contains(folders, name):
			folders = append(folders, name)
			found = append(found, object{"uri": uri + "/" + name, "name": name, "mimeType": "inode/directory"})
		}
	}
	if found == nil {
		return nil, &fault{Code: invalidParams, Message: "no directory"}
	}
	return kept(object{"resources": found}), nil
}
