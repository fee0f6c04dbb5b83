package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// segment writes the newest of the files audit-YYYYMMDD-N.jsonl in a directory. A new one begins when the day changes
// (UTC) or the file is full.
type segment struct {
	dir      string
	maxBytes int64
	open     func(path string) (file, error)

	file  file   // nil before the first write
	day   string // YYYYMMDD
	n     int
	size  int64
	dirty bool // a write failed halfway: cut back to size before the next one
}

// file is what a segment needs of *os.File.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

func openSegments(dir string, maxBytes int64, log *slog.Logger) (*segment, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &segment{dir: dir, maxBytes: maxBytes, open: openFile}
	day, n, err := newest(dir)
	if err != nil || n == 0 {
		return s, err
	}
	s.day, s.n = day, n
	size, cut, err := repair(s.path())
	if err != nil {
		return nil, fmt.Errorf("check last record of %s: %w", s.path(), err)
	}
	if cut > 0 {
		log.Warn("unfinished audit record set aside", "file", s.path()+".partial", "bytes", cut)
	}
	if s.file, err = s.open(s.path()); err != nil {
		return nil, err
	}
	s.size = size
	return s, nil
}

func openFile(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

func (s *segment) path() string {
	return filepath.Join(s.dir, fmt.Sprintf("audit-%s-%d.jsonl", s.day, s.n))
}

// newest returns day and number of the newest segment; n is 0 when there is none.
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
	if err := s.prepare(now); err != nil {
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
func (s *segment) prepare(now time.Time) error {
	if s.dirty {
		if err := s.file.Truncate(s.size); err != nil {
			return err
		}
		s.dirty = false
	}
	day := now.UTC().Format("20060102")
	switch {
	case s.file != nil && day <= s.day && s.size < s.maxBytes:
		return nil
	case day > s.day:
		return s.begin(day, 1)
	}
	return s.begin(s.day, s.n+1) // full, or the clock went back
}

func (s *segment) begin(day string, n int) error {
	next := &segment{dir: s.dir, day: day, n: n}
	f, err := s.open(next.path())
	if err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		_ = f.Close()
		return err
	}
	old := s.file
	s.file, s.day, s.n, s.size = f, day, n, 0
	if old != nil {
		return old.Close()
	}
	return nil
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
	defer d.Close()
	return d.Sync()
}

// maxTail is how much of a segment's end repair looks at: more than the longest batch.
const maxTail = 16 << 20

// repair cuts a file back to its last whole record, and keeps what it cut in a file beside it.
func repair(path string) (size, cut int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	start := max(0, end-maxTail)
	tail := make([]byte, end-start)
	if _, err := f.ReadAt(tail, start); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	good := wholeRecords(tail)
	if good == len(tail) {
		return end, 0, nil
	}
	if err := os.WriteFile(path+".partial", tail[good:], 0o600); err != nil {
		return 0, 0, err
	}
	size = start + int64(good)
	if err := f.Truncate(size); err != nil {
		return 0, 0, err
	}
	return size, int64(len(tail) - good), f.Sync()
}

// wholeRecords returns the length of b up to its last line that is ended and valid JSON.
func wholeRecords(b []byte) int {
	end := bytes.LastIndexByte(b, '\n') + 1
	for end > 0 {
		begin := bytes.LastIndexByte(b[:end-1], '\n') + 1
		if json.Valid(b[begin:end]) {
			return end
		}
		end = begin
	}
	return 0
}
