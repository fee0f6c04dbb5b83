package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAliases(t *testing.T) {
	t.Parallel()
	mounts := parseMounts([]byte(`22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /tmp rw - tmpfs tmpfs rw
41 22 253:0 /var/lib /mnt/lib rw - ext4 /dev/vda rw
42 22 253:0 /var/lib/gatehouse/audit /mnt/audit rw - ext4 /dev/vda rw
43 22 253:0 /home /mnt/home rw - ext4 /dev/vda rw
44 22 253:0 / /mnt/a\040b rw - ext4 /dev/vda rw
45 22 0:31 /var/lib /mnt/other rw - tmpfs tmpfs rw
46 22 253:0 /var/lib/gatehouse2 /mnt/two rw - ext4 /dev/vda rw
short line
`))
	for path, want := range map[string][]string{
		"/var/lib/gatehouse": {"/mnt/lib/gatehouse", "/mnt/audit", "/mnt/a b/var/lib/gatehouse"},
		"/mnt/lib/gatehouse": {"/var/lib/gatehouse", "/mnt/audit", "/mnt/a b/var/lib/gatehouse"},
		"/home/me/key":       {"/mnt/home/me/key", "/mnt/a b/home/me/key"},
		"/tmp/key":           nil,
		"/":                  {},
	} {
		if got := aliases(path, mounts); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := aliases("/x", nil); got != nil {
		t.Errorf("without mounts: %q", got)
	}
}

func FuzzMounts(f *testing.F) {
	f.Add("22 1 253:0 / / rw\n41 22 253:0 /var/lib /mnt/l\\040b rw", "/var/lib/x")
	f.Add("1 1 a b c", "/")
	f.Fuzz(func(t *testing.T, text, path string) {
		for _, alias := range aliases(path, parseMounts([]byte(text))) {
			if alias == path {
				t.Errorf("%q is its own alias", path)
			}
		}
	})
}

// tree makes files, directories (with a slash at the end) and symbolic links (name>target).
func tree(t *testing.T, names ...string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name, target, link := strings.Cut(name, ">")
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		switch {
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o700)
		default:
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFenceAllowsWhatIsBeside(t *testing.T) {
	t.Parallel()
	root := tree(t, "a/state/key", "a/state2", "a/other/", "a/link>state", "b/secret", "b/secrets", "c/", "gatehouse-work-1/x", "gatehouse-work-file")
	f := &fence{hidden: []string{root + "/a/state", root + "/b/secret", root + "/b/not-yet"}}
	if err := f.allow(root, changes); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range f.allowed {
		got = append(got, strings.TrimPrefix(a.path, root))
	}
	want := "/a/other /a/state2 /b/secrets /c /gatehouse-work-file"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
	for _, path := range []string{"/a/state", "/a/state/key", "/a/link", "/b/secret"} {
		if err := f.allow(root+path, read); err == nil {
			t.Errorf("%s is allowed", path)
		}
	}
}

func TestFenceIsBounded(t *testing.T) {
	t.Parallel()
	root := tree(t, "a", "b", "c", "key")
	f := &fence{hidden: []string{root + "/key"}, allowed: make([]allowance, maxAllowances-2)}
	if err := f.allow(root, read); err == nil || !strings.Contains(err.Error(), "directory of their own") {
		t.Error(err)
	}
}

func TestWhereabouts(t *testing.T) {
	t.Parallel()
	root := tree(t, "real/key", "link>real", "dangling>nowhere/now", "loop>loop2", "loop2>loop")
	for path, want := range map[string]string{
		"/link/key":         "/real/key",
		"/link/missing/key": "/real/missing/key",
		"/real/../link":     "/real",
		"/no/such":          "/no/such",
		"/dangling/key":     "/nowhere/now/key",
	} {
		if got, err := whereabouts(root + path); err != nil || got != root+want {
			t.Errorf("%s: %s %v", path, got, err)
		}
	}
	for _, bad := range []string{"/real/key/x", "/loop/x"} {
		if got, err := whereabouts(root + bad); err == nil {
			t.Errorf("%s is %s", bad, got)
		}
	}
}
