package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/internal/cluster"
	"gatehouse/internal/store"
)

// machine looks at what lies on this machine, without changing any of it.
func (s *Setup) machine(ctx context.Context) []Finding {
	r := &report{about: "this machine"}
	if s.State.KeysError != nil {
		r.fail("master key", trouble{MasterKey, clip(s.State.KeysError.Error(), 200), "a key that can be read", "see master_key"})
	}
	r.stateDir(s.State.Dir)
	r.disk(s.State.Audit)
	r.database(ctx, s)
	if s.Copies != "" {
		r.copies(ctx, s)
	}
	return r.all
}

// copies looks whether this copy is where the others look for it.
func (r *report) copies(ctx context.Context, s *Setup) {
	if s.BeforeStart || s.State.Keys == nil {
		r.skip("copies", "it needs a Gatehouse that runs, and the master key")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := cluster.Reach(ctx, s.State.Keys, s.PublicURL, s.Copies); err != nil {
		r.fail("copies", trouble{CopyAway, clip(err.Error(), 160), "at " + s.Copies + " a copy with this master_key and public_url", "correct copies.address; see that copies.listen is that address, and that no firewall is between copies"})
		return
	}
	r.ok("copies", "reached at %s, as others do", s.Copies)
}

// stateDir looks at who may read and write the state.
func (r *report) stateDir(dir string) {
	const check = "state directory"
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		above := parentThatExists(dir)
		if err := writable(above); err != nil {
			r.fail(check, trouble{StateNotWritable, dir + " is not there, and " + above + " cannot be written to: " + cause(err), "a directory that this user may make", "make it for the user that runs Gatehouse, or name another state_dir"})
			return
		}
		r.ok(check, "%s will be made", dir)
		return
	case err != nil:
		r.fail(check, trouble{StateNotWritable, cause(err), "a directory of this user", "run this as the user that runs Gatehouse, or correct state_dir"})
		return
	case !info.IsDir():
		r.fail(check, trouble{StateNotWritable, dir + " is not a directory", "a directory", "correct state_dir"})
		return
	}
	if err := writable(dir); err != nil {
		r.fail(check, trouble{StateNotWritable, "this user cannot write to " + dir + ": " + cause(err), "a directory of the user that runs Gatehouse", "run this as that user; or chown the directory to it"})
		return
	}
	if open := whoElse(dir, info); open != "" {
		r.warn(check, trouble{StateReadable, open, "mode 0700, for the user that runs Gatehouse alone", "chmod 700 " + dir + "; it holds grants, users and records"})
		return
	}
	if owner := foreign(dir); owner != "" {
		r.warn(check, trouble{StateOwner, owner + " belongs to another user than " + dir, "everything in it belongs to the user that runs Gatehouse", "chown it; a command was run as another user, such as root"})
		return
	}
	r.ok(check, "%s, this user's alone", dir)
}

func parentThatExists(dir string) string {
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return dir
}

// writable tries, since modes do not tell about read-only mounts and access lists; what it made is gone afterwards.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".gatehouse-doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Disk space below which audit records are in danger: without them no call is answered.
const (
	diskFail = 64 << 20
	diskWarn = 1 << 30
)

func (r *report) disk(audit string) {
	at := audit
	if _, err := os.Stat(at); err != nil {
		at = parentThatExists(at)
	}
	free, ok := freeSpace(at)
	t := trouble{DiskSpace, fmt.Sprintf("%d MiB are free for audit records in %s", free>>20, audit), "1 GiB", "make room: a call whose record cannot be written is not answered"}
	switch {
	case !ok:
		r.skip("disk", "this system does not tell how much is free")
	case free < diskFail:
		r.fail("disk", t)
	case free < diskWarn:
		r.warn("disk", t)
	default:
		r.ok("disk", "%d GiB free for audit records", free>>30)
	}
}

func (r *report) database(ctx context.Context, s *Setup) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	found, err := store.Look(ctx, store.Options{DSN: s.State.Database.Reveal(), Keys: s.State.Keys})
	switch {
	case errors.Is(err, store.ErrWrongKey):
		r.fail("database", trouble{DatabaseKey, clip(err.Error(), 160), "the master key that the database was used with", "give the old key back, also beside the new one: master_key: [new, old]"})
	case errors.Is(err, store.ErrNewerSchema):
		r.fail("database", trouble{DatabaseNewer, clip(err.Error(), 160), "a schema that this version knows", "run the later version of Gatehouse, or restore a backup of before its upgrade"})
	case errors.Is(err, store.ErrBroken):
		r.fail("database", trouble{DatabaseBroken, clip(err.Error(), 160), "a SQLite database", "restore a backup: gatehouse restore BACKUP"})
	case err != nil:
		r.fail("database", databaseTrouble(err))
	case !found.Exists:
		r.ok("database", "%s will be made", found.Place)
	case found.Schema < found.Newest:
		r.ok("database", "%s, schema %d, will be upgraded to %d at the start", found.Place, found.Schema, found.Newest)
	default:
		r.ok("database", "%s, schema %d", found.Place, found.Schema)
	}
}

// databaseTrouble knows what PostgreSQL says to those who cannot come in. The address is not repeated: it may hold the
// password.
func databaseTrouble(err error) trouble {
	text := err.Error()
	t := trouble{DatabaseAway, "it cannot be opened: " + clip(text, 160), "a database that answers", "see that it runs, and that database names it rightly"}
	for _, known := range []struct {
		sign string
		code Code
		fix  string
	}{
		{"password authentication failed", DatabaseCredential, "correct user and password in database, or pg_hba.conf"},
		{"no password supplied", DatabaseCredential, "give a password in database (by file or environment variable)"},
		{"does not exist", DatabaseAbsent, "make it: createdb, and createuser for its owner"},
		{"permission denied", DatabaseCredential, "let this user read and write it"},
		{"no pg_hba.conf entry", DatabaseCredential, "let pg_hba.conf admit this machine, and set sslmode to what it asks for"},
		{"connection refused", DatabaseAway, "start PostgreSQL, and let it listen on that address"},
		{"unable to open database file", DatabaseCredential, "run this as the user that runs Gatehouse"},
	} {
		if strings.Contains(text, known.sign) {
			t.code, t.fix = known.code, known.fix
			break
		}
	}
	return t
}
