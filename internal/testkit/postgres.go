package testkit

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
)

// PostgresEnv decides whether tests use PostgreSQL: 1 means they must, 0 that they must not; unset, they do when the
// server's programs are installed.
const PostgresEnv = "GATEHOUSE_TEST_POSTGRES"

// ErrNoPostgres means that the tests for PostgreSQL are to be skipped.
var ErrNoPostgres = errors.New("PostgreSQL is not tested")

// Postgres is a private PostgreSQL server on a Unix socket, without durability, gone when the test process is.
type Postgres struct {
	dir       string
	keeper    *exec.Cmd
	stop      io.Closer
	databases atomic.Int64
}

// keep starts the server, says so, and stops it when its input ends, which also happens when the test process dies.
const keep = `
set -e
trap '' INT TERM
"$BIN/initdb" -D "$DIR/data" -U postgres -A trust -E UTF8 --no-locale --no-sync >"$DIR/log" 2>&1
"$BIN/pg_ctl" start -w -D "$DIR/data" -l "$DIR/log" -o "-k '$DIR' -c listen_addresses='' -c fsync=off -c max_connections=300" >>"$DIR/log" 2>&1
echo ready
cat >>"$DIR/log"
"$BIN/pg_ctl" stop -m immediate -D "$DIR/data" >>"$DIR/log" 2>&1
rm -rf "$DIR"
`

// StartPostgres starts a server for all tests of a process, typically by sync.OnceValues, with Stop in TestMain. It
// returns ErrNoPostgres when there is to be none.
func StartPostgres() (*Postgres, error) {
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gatehouse-pg-")
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	cmd, err := unprivileged(dir, "sh", "-c", keep)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w", err), os.RemoveAll(dir))
	}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BIN="+bin, "DIR="+dir)
	p := &Postgres{dir: dir, keeper: cmd}
	if err := p.start(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w\n%s", err, log), p.Stop())
	}
	return p, nil
}

func (p *Postgres) start() error {
	in, err := p.keeper.StdinPipe()
	if err != nil {
		return err
	}
	p.stop = in
	out, err := p.keeper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.keeper.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return fmt.Errorf("it did not become ready: %w", err)
	}
	return nil
}

// NewDatabase creates an empty database and returns its URL.
func (p *Postgres) NewDatabase(ctx context.Context) (dsn string, err error) {
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		return "", err
	}
	defer db.Close()
	name := "test" + strconv.FormatInt(p.databases.Add(1), 10)
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("create database: %w", err)
	}
	return p.url(name), nil
}

func (p *Postgres) url(database string) string {
	return "postgres://postgres@/" + database + "?" + url.Values{"host": {p.dir}}.Encode()
}

// Stop ends the server and removes its files.
func (p *Postgres) Stop() error {
	var err error
	if p.stop != nil {
		p.stop.Close()
		err = p.keeper.Wait()
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

// postgresPrograms returns the directory of initdb and pg_ctl.
func postgresPrograms() (string, error) {
	wanted := os.Getenv(PostgresEnv)
	if wanted == "0" {
		return "", fmt.Errorf("%w: %s=0", ErrNoPostgres, PostgresEnv)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // where Debian and Ubuntu put them
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found)), nil
	}
	if wanted != "" {
		return "", fmt.Errorf("%s is set, but initdb is not installed: install the postgresql package", PostgresEnv)
	}
	return "", fmt.Errorf("%w: initdb is not installed; install the postgresql package, or see %s", ErrNoPostgres, PostgresEnv)
}

// unprivileged gives the directory to an ordinary user and runs the command as that one: PostgreSQL refuses to run as
// root, which tests in containers often are.
func unprivileged(dir, name string, args ...string) (*exec.Cmd, error) {
	if os.Geteuid() != 0 {
		return exec.Command(name, args...), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("find a user other than root: %w", err)
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID, os.Chown(dir, uid, gid)); err != nil {
		return nil, err
	}
	return exec.Command("setpriv", append([]string{"--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups", name}, args...)...), nil
}
