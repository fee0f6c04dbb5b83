package target

import (
	"bufio"
	"cmp"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what a process may write into the log.
const (
	stderrLine  = 1000 // bytes of one line
	stderrRate  = 20   // lines a second, in the long run
	stderrBurst = 200  // lines at once
	leastSecret = 8    // bytes: shorter values of the environment are no secrets, and would blot out whole words
)

// stderr brings what a process writes for people into the log: cut, not too much of it, and without the values of its
// environment, which are its credentials.
type stderr struct {
	log    *slog.Logger
	hide   *strings.Replacer
	limit  *rate.Limiter
	missed int
	last   string // the last line, to be read when read has returned
}

func newStderr(t *Target) *stderr {
	var values []string
	for name, v := range t.opt.Command.Env {
		if s := v.Reveal(); len(s) >= leastSecret && name != "PATH" && name != "HOME" && name != "TMPDIR" {
			values = append(values, s)
		}
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // one may hold another
	pairs := make([]string, 0, 2*len(values))
	for _, v := range values {
		pairs = append(pairs, v, "REDACTED")
	}
	return &stderr{log: t.opt.Log, hide: strings.NewReplacer(pairs...), limit: rate.NewLimiter(stderrRate, stderrBurst)}
}

// read reads to the end. What is left out is read too, or the process would stand still.
func (s *stderr) read(from io.Reader) {
	r := bufio.NewReaderSize(from, stderrLine)
	for cut := false; ; {
		line, more, err := r.ReadLine()
		if err != nil {
			s.tellMissed()
			return
		}
		if !cut && len(line) > 0 {
			s.write(string(line))
		}
		cut = more
	}
}

func (s *stderr) write(line string) {
	s.last = s.hide.Replace(line)
	if !s.limit.AllowN(time.Now(), 1) {
		s.missed++
		return
	}
	s.tellMissed()
	s.log.Info("target stderr", "line", s.last)
}

func (s *stderr) tellMissed() {
	if s.missed > 0 {
		s.log.Warn("target wrote more on stderr than goes into the log", "lines_left_out", s.missed)
		s.missed = 0
	}
}
