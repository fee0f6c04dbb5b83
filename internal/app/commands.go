package app

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"gatehouse/internal/config"
	"gatehouse/internal/sandbox"
)

// ownFiles lists what no command may reach: the state directory, the database, and every file that the configuration was
// read from, the secrets among them.
func ownFiles(c *config.Config) []string {
	own := slices.Concat([]string{c.StateDir}, c.Read)
	if db := c.Database.Reveal(); db != "" && !strings.Contains(db, "://") {
		for _, kind := range []string{"", "-wal", "-shm", "-journal"} { // SQLite's files
			own = append(own, db+kind)
		}
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// overSocket reports whether a database address leads to a Unix socket, where PostgreSQL may go by who asks.
func overSocket(dsn string) bool {
	u, err := url.Parse(dsn)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return false
	}
	host := cmp.Or(u.Query().Get("host"), u.Hostname())
	return host == "" || strings.HasPrefix(host, "/")
}

// Doubts says what about the commands of a configuration is doubtful on this machine, as far as the file alone cannot
// show it.
func Doubts(c *config.Config) []string {
	var doubts []string
	fenced := sandbox.Landlock() > 0
	for _, t := range c.Targets {
		switch {
		case t.Command == nil:
		case !fenced && t.Sandbox != "off" && t.Sandbox != "optional" && t.RunAs == "":
			doubts = append(doubts, fmt.Sprintf("targets.%s: %v, so this command does not start here; use Linux 5.13 or newer with landlock in /sys/kernel/security/lsm, or run_as, or accept with sandbox: optional that it can read Gatehouse's keys", t.Name, sandbox.ErrNoFence))
		case !fenced && t.Sandbox == "optional" && t.RunAs == "":
			doubts = append(doubts, fmt.Sprintf("targets.%s: %v, so this command can read Gatehouse's keys and database", t.Name, sandbox.ErrNoFence))
		case t.RunAs != "" && os.Geteuid() != 0:
			doubts = append(doubts, fmt.Sprintf("targets.%s: %v; this user could not start this command as %s", t.Name, sandbox.ErrStrayUser, t.RunAs))
		case t.RunAs == "" && overSocket(c.Database.Reveal()):
			doubts = append(doubts, fmt.Sprintf("targets.%s: the database is reached over a Unix socket, at which this command looks like Gatehouse itself; name another user in run_as, or a password and an address in database", t.Name))
		case t.RunAs == "" && os.Geteuid() == 0:
			doubts = append(doubts, fmt.Sprintf("targets.%s: run by root, this command is root too; name another user in run_as", t.Name))
		}
	}
	return doubts
}
