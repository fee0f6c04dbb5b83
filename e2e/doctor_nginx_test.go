//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// proxied is a Gatehouse behind a real nginx that terminates TLS, and the authority that its certificate is of.
type proxied struct {
	*house
	dir       string
	port      int // of nginx
	gatehouse int
}

func newProxied(t *testing.T) *proxied {
	t.Helper()
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Fatal("nginx is not installed; run e2e/install.sh")
	}
	p := &proxied{dir: t.TempDir(), port: freePort(t), gatehouse: freePort(t)}
	ca := testkit.NewCA(t)
	chain, key := ca.PEM(ca.Issue(t, "localhost"))
	master := make([]byte, 32)
	rand.Read(master)
	for name, content := range map[string]string{
		"root.pem": string(ca.RootPEM()), "tls.crt": string(chain), "tls.key": string(key), "people": "alice:{PLAIN}secret\n",
		"master.key": base64.StdEncoding.EncodeToString(master),
		"gatehouse.yaml": fmt.Sprintf(`
public_url: https://localhost:%d
listen: 127.0.0.1:%d
behind_tls_proxy: true
trusted_proxies: [127.0.0.1/32]
state_dir: state
master_key: {file: master.key}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
`, p.port, p.gatehouse),
	} {
		writeFile(t, filepath.Join(p.dir, name), content)
	}
	p.house = startHouse(t, p.dir, fmt.Sprintf("http://127.0.0.1:%d", p.gatehouse), "serve", "-c", "gatehouse.yaml")
	return p
}

// through has the doctor look while nginx runs with these settings, and returns what it says.
func (p *proxied) through(t *testing.T, server string) (string, error) {
	t.Helper()
	server = strings.ReplaceAll(server, "$GATEHOUSE", fmt.Sprintf("http://127.0.0.1:%d", p.gatehouse))
	defer startNginx(t, p.dir, p.port, server)()
	cmd := exec.Command(kit.gatehouse, "doctor", "-c", "gatehouse.yaml")
	cmd.Dir, cmd.Env = p.dir, append(p.environment(), "SSL_CERT_FILE="+filepath.Join(p.dir, "root.pem"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// startNginx runs nginx with these settings of a server, and the certificate tls.crt of the directory, until stop is called.
func startNginx(t *testing.T, dir string, port int, server string) (stop func()) {
	t.Helper()
	writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.log;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server {
    listen 127.0.0.1:%[2]d ssl;
    ssl_certificate %[1]s/tls.crt;
    ssl_certificate_key %[1]s/tls.key;
    %[3]s
  }
}
`, dir, port, server))
	nginx := exec.Command("nginx", "-e", filepath.Join(dir, "nginx.log"), "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", "daemon off; master_process off;")
	var said strings.Builder
	nginx.Stdout, nginx.Stderr = &said, &said
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = nginx.Process.Kill()
		_ = nginx.Wait()
	})
	t.Cleanup(stop)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // another process: there is no event to wait for
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return stop
		}
		if time.Now().After(deadline) {
			stop()
			t.Fatalf("nginx does not listen: %v\n%s", err, said.String())
		}
	}
}

// A good nginx in front, the defaults of nginx, and each mistake that people make with it.
func TestDoctorThroughNginx(t *testing.T) {
	p := newProxied(t)
	const good = `
    client_max_body_size 5m;
    large_client_header_buffers 4 32k;
    location / {
      proxy_pass $GATEHOUSE;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
      # here
    }
    # beside`
	in := func(line string) string { return strings.Replace(good, "# here", line, 1) }
	beside := func(block string) string { return strings.Replace(good, "# beside", block, 1) }
	for _, tc := range []struct {
		name, server string
		want         []string // codes, in this order; the first is what doctor names first
		fails        bool
	}{
		{"as it should be", good, nil, false},
		{"nginx as it comes", "location / { proxy_pass $GATEHOUSE; }", []string{"forwarded_for_missing", "header_limit", "body_limit"}, false},
		{"streams held back", strings.Replace(good, "proxy_buffering off;", "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;", 1), []string{"events_buffered"}, true},
		{"streams compressed", in("gzip on; gzip_proxied any; gzip_min_length 0; gzip_types *;"), []string{"events_compressed"}, false},
		{"a path behind the address", strings.Replace(good, "location / {\n      proxy_pass $GATEHOUSE;", "location /mcp {\n      proxy_pass $GATEHOUSE/;", 1), []string{"path_rewritten"}, true},
		{"a password", in(`auth_basic "x"; auth_basic_user_file people;`), []string{"proxy_signs_in"}, true},
		{"Authorization dropped", in(`proxy_set_header Authorization "";`), []string{"authorization_dropped"}, true},
		{"another Host", strings.Replace(good, "Host $http_host", "Host gatehouse", 1), []string{"host_rewritten"}, true},
		{"another address", strings.ReplaceAll(good, "$GATEHOUSE", "http://127.0.0.1:1"), []string{"proxy_cannot_reach"}, true},
		{"a slash", beside("location = /mcp { return 301 https://$http_host/mcp/; }"), []string{"redirect_slash"}, true},
		{"well-known elsewhere", beside("location /.well-known/ { root /nowhere; }"), []string{"metadata_missing"}, true},
		{"only POST", in("limit_except POST { deny all; }"), []string{"forbidden_in_front"}, true},
		{"a page of its own", strings.Replace(good, "location / {", "location /x {", 1), []string{"path_not_forwarded"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			said, err := p.through(t, tc.server)
			if (err != nil) != tc.fails {
				t.Errorf("doctor ends with %v", err)
			}
			var codes []string
			for line := range strings.Lines(said) {
				if f := strings.Fields(line); len(f) == 2 && f[0] == "code" {
					codes = append(codes, f[1])
				}
			}
			if len(codes) == 0 && len(tc.want) > 0 || len(tc.want) == 0 && len(codes) > 0 {
				t.Fatalf("doctor names %v, want %v:\n%s", codes, tc.want, said)
			}
			for i, want := range tc.want {
				if i >= len(codes) || codes[i] != want {
					t.Fatalf("doctor names %v, want %v:\n%s", codes, tc.want, said)
				}
			}
		})
	}
}
