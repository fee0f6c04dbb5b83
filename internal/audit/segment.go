package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// segment writes one file audit-YYYYMMDD-N.jsonl after the other: a new one begins with each start of the program, when
// the day changes (UTC), when the file is full, and when somebody took it away. No two processes write to one file.
type segment struct {
	dir      string
	maxBytes int64
	open     func(path string) (file, error)

	file  file   // nil before the first write
	path  string // of file
	n     int    // its number on that day
	day   string // YYYYMMDD
	size  int64
	dirty bool // a write failed halfway: cut back to size before the next one
}

// file is what a segment needs of *os.File.
type file interface {
	io.WriteCloser
	Stat() (os.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

func openSegments(dir string, maxBytes int64, log *slog.Logger) (*segment, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	day, _, err := newest(dir)
	if err != nil {
		return nil, err
	}
	if day != "" {
		if err := repairDay(dir, day, log); err != nil {
			return nil, err
		}
	}
	return &segment{dir: dir, maxBytes: maxBytes, open: openFile}, nil
}

// openFile makes a new file, and locks it for as long as it is open so that no other process repairs it.
func openFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := tryLock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// newest returns the last day that has segments, and the highest number on that day; "" and 0 when there are none.
func newest(dir string) (day string, n int, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	for _, p := range paths {
		var d string
		var i int
		if _, err := fmt.Sscanf(filepath.Base(p), "audit-%8s-%d.jsonl", &d, &i); err != nil {
			continue
		}
		if d > day || d == day && i > n {
			day, n = d, i
		}
	}
	return day, n, err
}

// write appends whole lines and syncs them. When it fails, nothing of them counts.
func (s *segment) write(lines []byte, now time.Time) error {
	if err := s.prepare(now.UTC().Format("20060102")); err != nil {
		return err
	}
	s.dirty = true
	if _, err := s.file.Write(lines); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.dirty = false
	s.size += int64(len(lines))
	return nil
}

// prepare makes file the one to append to: cut back after a failure, and the next one when it is time for it.
func (s *segment) prepare(today string) error {
	if s.dirty {
		if err := s.file.Truncate(s.size); err != nil {
			return err
		}
		s.dirty = false
	}
	if s.file != nil && today == s.day && s.size < s.maxBytes && s.inPlace() {
		return nil
	}
	return s.begin(today)
}

// inPlace reports whether the file is still what its name stands for: what is written to one that was deleted is lost.
func (s *segment) inPlace() bool {
	named, err := os.Stat(s.path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	ours, err := s.file.Stat()
	return err != nil || os.SameFile(named, ours)
}

func (s *segment) begin(today string) error {
	day, n, err := newest(s.dir)
	if err != nil {
		return err
	}
	if day != today {
		n = 0
	}
	if today == s.day {
		n = max(n, s.n) // where files are moved to, there may be one of that name
	}
	f, path, n, err := s.create(today, n+1)
	if err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	old := s.file
	s.file, s.path, s.n, s.day, s.size = f, path, n, today, 0
	if old != nil {
		return old.Close()
	}
	return nil
}

// create makes the first file from number n on that does not exist: another process may have been faster.
func (s *segment) create(day string, from int) (f file, path string, n int, err error) {
	for n = from; ; n++ {
		path = filepath.Join(s.dir, fmt.Sprintf("audit-%s-%d.jsonl", day, n))
		if f, err = s.open(path); !errors.Is(err, fs.ErrExist) {
			return f, path, n, err
		}
	}
}

func (s *segment) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// syncDir makes a new file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
