package doctor_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/doctor"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
	"gatehouse/internal/upauth"
	"gatehouse/internal/web"
)

// quiet is a set-up before its first start, in which nothing but what a test adds can be wrong.
func quiet(t *testing.T) doctor.Setup {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	return doctor.Setup{
		PublicURL: "http://localhost:1", Listen: "127.0.0.1:1", BeforeStart: true,
		Endpoints: []doctor.Endpoint{{Path: "/mcp", Own: true}},
		State:     doctor.State{Dir: dir, Audit: filepath.Join(dir, "audit"), Database: secret.New(filepath.Join(dir, "gatehouse.db"))},
		Client:    web.NewClient(web.FenceAdmin, web.ClientOptions{}), Timeout: time.Minute,
	}
}

func run(t *testing.T, s doctor.Setup) []doctor.Finding {
	t.Helper()
	found, err := doctor.Run(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wants compares the first thing that is wrong with what was expected to be: its code, and a part of its fix.
func wants(t *testing.T, found []doctor.Finding, status doctor.Status, code doctor.Code, fix string) {
	t.Helper()
	for _, f := range found {
		switch {
		case f.Status == doctor.OK || f.Status == doctor.Skip:
			continue
		case f.Status != status || f.Code != code:
			t.Errorf("first finding %+v, want %s %s", f, status, code)
		case !strings.Contains(f.Fix, fix) || fix == "" || f.Found == "" || f.Expected == "":
			t.Errorf("%+v, want a fix with %q", f, fix)
		}
		return
	}
	t.Errorf("nothing is wrong; want %s: %+v", code, found)
}

func wantsNothing(t *testing.T, found []doctor.Finding) {
	t.Helper()
	if doctor.Count(found, doctor.Fail)+doctor.Count(found, doctor.Warn) > 0 {
		t.Errorf("%+v", found)
	}
}

// serving is a server that answers everything in one way.
func serving(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL + "/mcp"
}

func status(code int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// TestTargets: of everything that can be wrong with a target the doctor names the right thing.
// withTokens is a target whose authorization server is away.
func withTokens(t *testing.T, o target.Options) target.Options {
	t.Helper()
	near := web.NewClient(web.FenceAdmin, web.ClientOptions{})
	source, err := upauth.New(upauth.Options{
		Target: "it", URL: o.HTTP.URL, Issuer: "http://127.0.0.1:1", Client: upauth.Client{ID: "gatehouse", Secret: secret.New("s3cret")},
		Grant: upauth.ClientCredentials(), Near: near, Far: near, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Client = &http.Client{Transport: source.Transport(web.NewTargetClient(web.ClientOptions{}).Transport)}
	return o
}

func TestTargets(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the commands of this test are of a Unix shell")
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(status(200, "text/plain", ""))
	secure.StartTLS()
	t.Cleanup(secure.Close)
	at := func(url string, headers ...string) target.Options {
		o := target.Options{HTTP: &target.HTTPOptions{URL: url}}
		for _, h := range headers {
			o.HTTP.Headers = map[string]secret.Text{"Authorization": secret.New(h)}
		}
		return o
	}
	sh := func(args ...string) target.Options {
		return target.Options{Command: &target.CommandOptions{Args: args}}
	}
	for name, tc := range map[string]struct {
		target target.Options
		code   doctor.Code
		fix    string
	}{
		"no credential":    {at(serving(t, status(401, "text/plain", ""))), doctor.TargetWantsCredential, "targets.it.headers"},
		"a bad credential": {at(serving(t, status(403, "text/plain", "")), "ghp_x"), doctor.TargetCredential, "Bearer"},
		"another path":     {at(serving(t, status(404, "text/html", "<html>"))), doctor.TargetPath, "targets.it.url"},
		"old transport":    {at(serving(t, status(405, "text/plain", ""))), doctor.TargetOldTransport, "HTTP with SSE"},
		"redirects": {at(serving(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		})), doctor.TargetRedirects, "URL to which it redirects"},
		"broken":     {at(serving(t, status(500, "text/plain", "boom"))), doctor.TargetDown, "log of the target"},
		"a web page": {at(serving(t, status(200, "text/html", "<html>hello"))), doctor.TargetNotMCP, "targets.it.url"},
		"no JSON":    {at(serving(t, status(200, "application/json", "hello"))), doctor.TargetNotMCP, "targets.it.url"},
		"silent": {at(serving(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else its end is not noticed
			<-r.Context().Done()
		})), doctor.NoAnswerInTime, "look at the target"},
		"nobody there":        {at("http://127.0.0.1:1/mcp"), doctor.NothingListens, "targets.it.url"},
		"unknown certificate": {at(secure.URL + "/mcp"), doctor.CertificateSelfSigned, "SSL_CERT_FILE"},
		"https to http":       {at(strings.Replace(serving(t, status(200, "text/plain", "")), "http:", "https:", 1)), doctor.TLSMissing, "targets.it.url"},
		"metadata service":    {at("http://169.254.169.254/mcp"), doctor.AddressFenced, "targets.it.url"},
		"no such command":     {sh("gatehouse-no-such-program"), doctor.CommandNotFound, "absolute path"},
		"not executable":      {sh(plain), doctor.CommandNotRunnable, "chmod +x"},
		"ends at once":        {sh("sh", "-c", "echo 'cannot find module' >&2; exit 3"), doctor.CommandEnds, "run it by hand"},
		"no such user":        {target.Options{Command: &target.CommandOptions{Args: []string{"sh"}, RunAs: "no-such-user-here"}}, doctor.CommandNotIsolated, "run_as"},
		"answers nonsense":    {sh("sh", "-c", `while read line; do echo "$line" | sed 's/"method".*/"result":{}}/'; done`), doctor.CommandNotMCP, "--stdio"},
		"settings":            {at("http://127.0.0.1:1/mcp", "a\nb"), doctor.TargetSettings, "targets.it"},
		"no access token":     {withTokens(t, at(serving(t, status(401, "text/plain", "")))), doctor.TargetCredential, "targets.it.oauth"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet(t)
			if tc.target.Name = "it"; tc.target.Client == nil {
				tc.target.Client = web.NewTargetClient(web.ClientOptions{})
			}
			if tc.code == doctor.NoAnswerInTime {
				s.Timeout = 2 * time.Second
			}
			s.Targets = []target.Options{tc.target}
			wants(t, run(t, s), doctor.Fail, tc.code, tc.fix)
		})
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		s := quiet(t)
		s.Targets = []target.Options{{Name: "it", HTTP: &target.HTTPOptions{URL: testkit.NewMCPServer(t).URL}}, {Name: "demo", Demo: true}}
		wantsNothing(t, run(t, s))
	})
}

// TestSilentCommand waits for the whole time that a command may take to start.
func TestSilentCommand(t *testing.T) {
	t.Parallel()
	s := quiet(t)
	s.Timeout = time.Second // there is enough to look at besides
	s.Targets = []target.Options{{Name: "it", Command: &target.CommandOptions{Args: []string{"sh", "-c", "while read line; do :; done"}}}}
	wants(t, run(t, s), doctor.Fail, doctor.CommandSilent, "npx")
}

// TestMachine: state directory and database, before and after the first start, and what may be wrong with them.
func TestMachine(t *testing.T) {
	t.Parallel()
	started := func(t *testing.T) doctor.Setup { // once, with the key of as
		s := quiet(t)
		if err := os.Mkdir(s.State.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(t.Context(), store.Options{DSN: s.State.Database.Reveal(), Keys: testkit.Keyring(t, 'a')})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		s.State.Keys = testkit.Keyring(t, 'a')
		return s
	}
	write := func(t *testing.T, path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		change func(t *testing.T, s *doctor.Setup)
		status doctor.Status
		code   doctor.Code
		fix    string
	}{
		"others may read": {func(t *testing.T, s *doctor.Setup) {
			if err := os.Chmod(s.State.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}, doctor.Warn, doctor.StateReadable, "chmod 700"},
		"a file":             {func(t *testing.T, s *doctor.Setup) { s.State.Dir = s.State.Database.Reveal() }, doctor.Fail, doctor.StateNotWritable, "state_dir"},
		"below a file":       {func(t *testing.T, s *doctor.Setup) { s.State.Dir = s.State.Database.Reveal() + "/state" }, doctor.Fail, doctor.StateNotWritable, "state_dir"},
		"another master key": {func(t *testing.T, s *doctor.Setup) { s.State.Keys = testkit.Keyring(t, 'b') }, doctor.Fail, doctor.DatabaseKey, "master_key: [new, old]"},
		"no database":        {func(t *testing.T, s *doctor.Setup) { write(t, s.State.Database.Reveal(), "hello") }, doctor.Fail, doctor.DatabaseBroken, "restore"},
		"empty":              {func(t *testing.T, s *doctor.Setup) { write(t, s.State.Database.Reveal(), "") }, doctor.Fail, doctor.DatabaseBroken, "restore"},
		"PostgreSQL away": {func(t *testing.T, s *doctor.Setup) {
			s.State.Database = secret.New("postgres://u:hidden@127.0.0.1:1/db")
		}, doctor.Fail, doctor.DatabaseAway, "start PostgreSQL"},
		"no master key": {func(t *testing.T, s *doctor.Setup) { s.State.Keys, s.State.KeysError = nil, os.ErrPermission }, doctor.Fail, doctor.MasterKey, "master_key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := started(t)
			tc.change(t, &s)
			found := run(t, s)
			wants(t, found, tc.status, tc.code, tc.fix)
			for _, f := range found {
				if strings.Contains(f.Found+f.Fix, "hidden") {
					t.Errorf("shows the password: %+v", f)
				}
			}
		})
	}
	t.Run("after a start", func(t *testing.T) { t.Parallel(); wantsNothing(t, run(t, started(t))) })
	t.Run("before the first start", func(t *testing.T) {
		t.Parallel()
		s := quiet(t)
		wantsNothing(t, run(t, s))
		if _, err := os.Stat(s.State.Dir); err == nil {
			t.Error("the doctor made the state directory")
		}
	})
}

// TestCertificateFile: the certificate that is going to be served is looked at before the first start.
func TestCertificateFile(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	for name, tc := range map[string]struct {
		pem  []byte
		code doctor.Code
		fix  string
	}{
		"good":         {first(ca.PEM(ca.Issue(t, "localhost"))), "", ""},
		"another name": {first(ca.PEM(ca.Issue(t, "other.test"))), doctor.CertificateWrongName, "a certificate for localhost"},
		"no chain":     {first(ca.PEM(ca.WithoutIntermediate("localhost"))), doctor.CertificateChain, "fullchain.pem"},
		"a key":        {[]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), doctor.CertificateInvalid, "tls.cert_file"},
	} {
		s := quiet(t)
		s.PublicURL, s.RootCAs, s.CertFile = "https://localhost:1", ca.Pool(), filepath.Join(t.TempDir(), "tls.crt")
		if err := os.WriteFile(s.CertFile, tc.pem, 0o600); err != nil {
			t.Fatal(err)
		}
		found := run(t, s)
		if tc.code == "" {
			wantsNothing(t, found)
			continue
		}
		t.Run(name, func(t *testing.T) { wants(t, found, doctor.Fail, tc.code, tc.fix) })
	}
}

func first(chain, _ []byte) []byte { return chain }

// TestProgress: everything that is looked at is announced, and done in the end.
func TestProgress(t *testing.T) {
	t.Parallel()
	s := quiet(t)
	s.Targets = []target.Options{{Name: "demo", Demo: true}}
	seen := map[string]bool{}
	last, all := 0, 0
	_, err := doctor.Run(t.Context(), s, func(running []string, done, of int) {
		for _, name := range running {
			seen[name] = true
		}
		last, all = done, of
	})
	if err != nil || last != all || all != 3 || !seen["target demo"] || !seen["this machine"] || !seen[s.PublicURL] {
		t.Errorf("%v, %d of %d, %v", err, last, all, seen)
	}
}
