package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// both writes a record as NewLogger's handler does and as slog.JSONHandler does.
func both(t *testing.T, level slog.Level, msg string, attrs ...slog.Attr) (ours, theirs string) {
	t.Helper()
	var out [2]bytes.Buffer
	id := func(context.Context) string { return "r1" }
	r := slog.NewRecord(time.Now(), level, msg, 0)
	r.AddAttrs(attrs...)
	for _, h := range []slog.Handler{
		newJSONHandler(LogOptions{Writer: &out[0], Level: slog.LevelDebug, RequestID: id}),
		requestHandler{slog.NewJSONHandler(&out[1], &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: redact}), id},
	} {
		if err := h.Handle(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	return out[0].String(), out[1].String()
}

func TestRecordsAreThoseOfSlog(t *testing.T) {
	t.Parallel()
	for _, a := range []slog.Attr{
		slog.String("s", `plain, "quoted" and \ and 'single' <&>`), slog.String("s", "ü\u2028\x00\x7f\t\xff"), slog.String("", "x"), slog.String("k\"ü", "x"),
		slog.String("s", ""), slog.String("error", "Bearer "+canary), slog.String("jwt", jwt), slog.String("x_token", canary),
		slog.Int("n", -7), slog.Uint64("n", math.MaxUint64), slog.Int64("password", 1), slog.Bool("b", true), slog.Duration("d", time.Second), slog.Time("t", time.Now()),
		slog.Float64("f", 0), slog.Float64("f", 0.123), slog.Float64("f", -1e20), slog.Float64("f", 1e21), slog.Float64("f", 1e-7), slog.Float64("f", 1e-6), slog.Float64("f", math.Inf(1)),
		slog.Float64("f", math.Copysign(0, -1)),
		slog.Any("e", errors.New("no")), slog.Any("nil", nil), slog.Any("list", []int{1}), {}, slog.Group("g", "a", 1), slog.Group("g"), slog.Group("", "a", 1),
		slog.Any("v", slog.LevelInfo),
	} {
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo + 1, slog.LevelError} {
			if ours, theirs := both(t, level, "a message", slog.Int("first", 1), a, slog.Int("last", 1)); ours != theirs {
				t.Errorf("%v is written as\n%snot\n%s", a, ours, theirs)
			}
		}
	}
	if ours, theirs := both(t, slog.LevelInfo, "token "+jwt+"\n"); ours != theirs {
		t.Errorf("%s, want %s", ours, theirs)
	}
}

func FuzzRecordsAreThoseOfSlog(f *testing.F) {
	f.Add("msg", "key", "value", 1.5)
	f.Add(jwt, "cookie", "basic dXNlcjpwYXNz", 0.0)
	f.Add("a\"\\b", "a\x7f", "\u2028", 1e300)
	f.Fuzz(func(t *testing.T, msg, key, value string, n float64) {
		if ours, theirs := both(t, slog.LevelInfo, msg, slog.String(key, value), slog.Float64(key, n)); ours != theirs {
			t.Errorf("%q, want %q", ours, theirs)
		}
	})
}

func TestLinesAreGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w writes
		lines := NewLines(&w)
		l, _ := NewLogger(LogOptions{Writer: lines, Format: FormatJSON})
		expect := func(when string, want ...string) {
			t.Helper()
			if got := w.take(); strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("%s: written %q, want %q", when, got, want)
			}
		}
		l.Info("1")
		expect("after a pause", "1")
		l.Info("2")
		l.Info("3")
		expect("right behind")
		time.Sleep(gatherFor)
		synctest.Wait()
		expect("a moment later", "2 3")
		l.Info("4")
		l.Warn("5")
		expect("with a warning", "4 5")
		l.Info("6")
		l.Info("7", "list", []int{1})
		expect("with one that slog writes", "6 7")
		l.Info("8")
		l.With("a", 1).Info("9")
		expect("with one of a logger that has fields", "8 9")
		time.Sleep(10 * gatherFor)
		l.Info("10")
		expect("after another pause", "10")
		for range 1000 {
			l.Info("x")
		}
		if all := len(w.take()); all < 1000*50/(2*gatherBytes) || all > 100 {
			t.Errorf("1000 lines took %d writes", all)
		}
		time.Sleep(10 * gatherFor)
		w.take()
		l.Info("11")
		l.Info("12")
		if err := lines.Close(); err != nil {
			t.Error(err)
		}
		expect("at the end", "11", "12")
		l.Info("13")
		expect("behind the end", "13")
		w.fail(io.ErrClosedPipe)
		l.Info("14")
		w.fail(nil)
		l.Info("15")
		expect("after one that failed", "15")
	})
}

// writes keeps what is written with each call: the messages of its lines.
type writes struct {
	mu  sync.Mutex // guards all below
	all []string
	err error
}

func (w *writes) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	var messages []string
	for line := range strings.Lines(string(p)) {
		_, rest, _ := strings.Cut(line, `"msg":"`)
		message, _, _ := strings.Cut(rest, `"`)
		messages = append(messages, message)
	}
	w.all = append(w.all, strings.Join(messages, " "))
	return len(p), nil
}

func (w *writes) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.all
	w.all = nil
	return all
}

// talkative is an error that logs when it is asked what it says, as one of somebody else's may.
type talkative struct{ log *slog.Logger }

func (e talkative) Error() string {
	e.log.Info("asked")
	return "it failed"
}

func TestErrorsMayLog(t *testing.T) {
	t.Parallel()
	l, b := logger(t, LogOptions{Format: FormatJSON})
	l.Info("trouble", "error", talkative{l})
	if got := b.String(); !strings.Contains(got, `"asked"`) || !strings.Contains(got, `"it failed"`) {
		t.Errorf("%s", got)
	}
}
