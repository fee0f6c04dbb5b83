package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// textHandler writes one aligned line per record, for people: time, level, message, then key=value. What follows the
// message is slog.TextHandler's work.
type textHandler struct {
	out    *output
	fields slog.Handler // writes into out.line
	color  bool
}

type output struct {
	mu   sync.Mutex // guards all below
	w    io.Writer
	line bytes.Buffer
}

func newTextHandler(w io.Writer, level slog.Leveler, color bool) *textHandler {
	out := &output{w: w}
	fields := slog.NewTextHandler(&out.line, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutHead})
	return &textHandler{out, fields, color}
}

// withoutHead drops what textHandler writes itself.
func withoutHead(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return redact(groups, a)
}

// Enabled implements slog.Handler.
func (h *textHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.fields.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h *textHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.line.Reset()
	on, off := h.paint(r.Level)
	fmt.Fprintf(&h.out.line, "%s %s%-5s%s %-28s ", r.Time.Format("15:04:05.000"), on, r.Level, off, oneLine(guardText(r.Message)))
	if err := h.fields.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.w.Write(h.out.line.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &textHandler{h.out, h.fields.WithAttrs(attrs), h.color}
}

// WithGroup implements slog.Handler.
func (h *textHandler) WithGroup(name string) slog.Handler {
	return &textHandler{h.out, h.fields.WithGroup(name), h.color}
}

func (h *textHandler) paint(l slog.Level) (on, off string) {
	if !h.color {
		return "", ""
	}
	switch {
	case l >= slog.LevelError:
		return "\x1b[31m", "\x1b[0m"
	case l >= slog.LevelWarn:
		return "\x1b[33m", "\x1b[0m"
	case l >= slog.LevelInfo:
		return "\x1b[32m", "\x1b[0m"
	}
	return "\x1b[90m", "\x1b[0m"
}

// oneLine keeps control characters of a message from forging lines or moving the cursor.
func oneLine(s string) string {
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, []byte(s)))
}
