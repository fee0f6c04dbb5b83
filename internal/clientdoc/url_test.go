package clientdoc

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestChecklist10_URLsBeforeAnyFetch(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"https://client.example/oauth.json", "https://client.example/a/", "https://client.example:443/a", "https://a.b.client.example/x-1_2~3.json",
		"https://xn--bcher-kva.example/c", "https://claude.ai/oauth/claude-code-client-metadata", "https://vscode.dev/oauth/client-metadata.json",
		"https://client.example/%C3%A9", "https://1.client.example/a", "https://client.example/..a/b..",
	} {
		if host, err := CheckURL(good); err != nil || !strings.Contains(good, host) || !IsURL(good) {
			t.Errorf("%s: host %q, %v", good, host, err)
		}
	}
	for name, bad := range map[string]string{
		"http":                 "http://client.example/a",
		"upper-case scheme":    "HTTPS://client.example/a",
		"other scheme":         "ftp://client.example/a",
		"no scheme":            "client.example/a",
		"port":                 "https://client.example:8443/a",
		"port 80":              "https://client.example:80/a",
		"empty port":           "https://client.example:/a",
		"leading zeros":        "https://client.example:0443/a",
		"user":                 "https://user@client.example/a",
		"user and password":    "https://u:p@client.example/a",
		"host in the user":     "https://client.example@evil.example/a",
		"fragment":             "https://client.example/a#b",
		"empty fragment":       "https://client.example/a#",
		"query":                "https://client.example/a?b=c",
		"empty query":          "https://client.example/a?",
		"no path":              "https://client.example",
		"root":                 "https://client.example/",
		"root twice":           "https://client.example//",
		"dot":                  "https://client.example/a/./b",
		"dots":                 "https://client.example/a/../b",
		"dots at the end":      "https://client.example/a/..",
		"escaped dots":         "https://client.example/a/%2e%2E/b",
		"half escaped dots":    "https://client.example/a/.%2e/b",
		"escaped slash":        "https://client.example/a%2fb",
		"escaped backslash":    "https://client.example/a%5c..%5cb",
		"backslash":            `https://client.example\@evil.example/a`,
		"broken escape":        "https://client.example/%zz",
		"IPv4":                 "https://127.0.0.1/a",
		"public IPv4":          "https://8.8.8.8/a",
		"IPv6":                 "https://[::1]/a",
		"mapped IPv4":          "https://[::ffff:10.0.0.1]/a",
		"IPv4 in two parts":    "https://127.1/a",
		"IPv4 as a number":     "https://2130706433/a",
		"IPv4 in hexadecimal":  "https://0x7f.0x0.0x0.0x1/a",
		"IPv4 in octal":        "https://0177.0.0.01/a",
		"IPv4 with a dot":      "https://127.0.0.1./a",
		"one label":            "https://localhost/a",
		"one label and a port": "https://intranet:443/a",
		"dot at the end":       "https://client.example./a",
		"empty label":          "https://client..example/a",
		"dot at the beginning": "https://.client.example/a",
		"upper-case host":      "https://Client.example/a",
		"another script":       "https://clіent.example/a", // a Cyrillic і
		"full-width dot":       "https://client．example/a",
		"escaped host":         "https://cl%69ent.example/a",
		"underscore":           "https://my_client.example/a",
		"hyphen first":         "https://-client.example/a",
		"long label":           "https://" + strings.Repeat("a", 64) + ".example/a",
		"long host":            "https://" + strings.Repeat("a.", 130) + "example/a",
		"long path":            "https://client.example/" + strings.Repeat("a", MaxURL),
		"space":                "https://client.example/a b",
		"line break":           "https://client.example/a\nb",
		"NUL":                  "https://client.example/a\x00",
		"wildcard host":        "https://*.example/a",
		"empty":                "",
		"scheme only":          "https://",
	} {
		if host, err := CheckURL(bad); err == nil {
			t.Errorf("%s: %q has host %q, want it refused", name, bad, host)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"https://client.example/a", "https://client.example:443/a/b", "https://127.1/a", "https://[::1]/a", "https://a.b/..;/x", "https://a@b.c/d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		host, err := CheckURL(text)
		if err != nil {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.Hostname() != host || u.Port() != "" && u.Port() != "443" || u.User != nil ||
			u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Trim(u.Path, "/") == "" || u.String() != text {
			t.Errorf("%q was admitted with host %q: %+v, %v", text, host, u, err)
		}
		for segment := range strings.SplitSeq(u.Path, "/") { // with escapes resolved
			if segment == "." || segment == ".." {
				t.Errorf("%q has dots to resolve", text)
			}
		}
		if _, err := netip.ParseAddr(host); err == nil {
			t.Errorf("%q names an address", text)
		}
	})
}
