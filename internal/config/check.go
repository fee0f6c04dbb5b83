package config

import (
	"fmt"
	"time"
)

// checker looks at the finished configuration: what single values cannot tell.
type checker struct {
	*report
	cfg *Config
}

// check notes every fault of a configuration. It also turns the master keys into bytes.
func check(c *Config, r *report) {
	r.decoded = len(r.faults)
	r.checking = true
	k := &checker{report: r, cfg: c}
	k.server()
	k.database()
	k.copies()
	k.metrics()
	k.audit()
	k.masterKeys()
	k.bounds()
	k.registration()
	k.providers()
	k.clients()
	k.authorizers()
	k.targets()
	k.endpoints()
	k.embeddings()
	k.carriedClaims()
	k.direct()
	k.unused()
}

// audit warns of records that may be lost.
func (k *checker) audit() {
	if k.cfg.Audit.Mode == AuditBestEffort {
		k.doubtful("audit.mode", "best_effort makes calls of which nobody will know who made them, when the disk is full or too slow",
			"Watch gatehouse_audit_dropped_total; or write strict, which refuses such calls.")
	}
}

// bad notes a fault, unless the file could not be read there in the first place.
func (k *checker) bad(path, message, hint string) {
	if !k.broken(path) {
		k.fault(k.at(path), message, hint)
	}
}

// doubtful notes a warning.
func (k *checker) doubtful(path, message, hint string) {
	if !k.broken(path) {
		k.warn(k.at(path), message, hint)
	}
}

// bounds checks numbers and durations.
func (k *checker) bounds() {
	l, s := k.cfg.Limits, k.cfg.SignIn.Session
	for _, size := range []struct {
		path string
		size ByteSize
	}{{"limits.body", l.Body}, {"limits.answer", l.Answer}} {
		if size.size < 1<<10 || size.size > 1<<30 {
			k.bad(size.path, fmt.Sprintf("%s is not between 1KiB and 1GiB", size.size), "The default does for most.")
		}
	}
	if l.Sessions < 1 {
		k.bad("limits.sessions", "leaves no room for a session", "Give a number above 0.")
	}
	if l.Processes < 1 {
		k.bad("limits.processes", "lets no command start", "Give a number above 0.")
	}
	if l.ProcessesPerPerson < 1 {
		k.bad("limits.processes_per_person", "lets no command start", "Give a number above 0.")
	}
	k.atLeast("limits.session_idle", l.SessionIdle, time.Minute)
	k.notAbove("limits.session_idle", l.SessionIdle, "session_lifetime", l.SessionLifetime)
	k.atLeast("sign_in.session.idle", s.Idle, time.Minute)
	k.notAbove("sign_in.session.idle", s.Idle, "absolute", s.Absolute)
	k.atLeast("sign_in.idp_recheck", k.cfg.SignIn.Recheck, time.Second)
	k.notAbove("sign_in.idp_recheck", k.cfg.SignIn.Recheck, "one hour", time.Hour)
	k.notAbove("max_stale", k.cfg.MaxStale, "one day", 24*time.Hour)
	k.lifetimes("tokens", k.cfg.Tokens)
}

// lifetimes checks what tokens may live. Resource servers refuse access tokens that live longer than a day, ours too.
func (k *checker) lifetimes(path string, l Lifetimes) {
	k.atLeast(path+".access_token_ttl", l.AccessToken, MinLifetime)
	k.notAbove(path+".access_token_ttl", l.AccessToken, "one day", 24*time.Hour)
	k.atLeast(path+".id_token_ttl", l.IDToken, MinLifetime)
	k.notAbove(path+".id_token_ttl", l.IDToken, "one day", 24*time.Hour)
	k.atLeast(path+".refresh_token_ttl", l.RefreshToken, MinLifetime)
	k.atLeast(path+".refresh_token_idle", l.RefreshIdle, MinLifetime)
}

func (k *checker) atLeast(path string, d, least time.Duration) {
	if d < least {
		k.bad(path, fmt.Sprintf("%s is too short", formatDuration(d)), fmt.Sprintf("Give %s or more.", formatDuration(least)))
	}
}

func (k *checker) notAbove(path string, d time.Duration, name string, most time.Duration) {
	if d > most {
		k.bad(path, fmt.Sprintf("%s is more than %s (%s)", formatDuration(d), name, formatDuration(most)), "Give less.")
	}
}

// repeated returns the positions of values that were there before.
func repeated[T comparable](values []T) []int {
	var out []int
	seen := map[T]bool{}
	for i, v := range values {
		if seen[v] {
			out = append(out, i)
		}
		seen[v] = true
	}
	return out
}
