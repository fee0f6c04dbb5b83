package telemetry

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"time"
)

// lineHandler writes records whose fields are plain values, as almost all have, the way slog.JSONHandler does, at a third of
// its cost. All others are that one's.
type lineHandler struct {
	slog.Handler // of the others, and of loggers with fields of their own
	lines        *Lines
	requestID    func(context.Context) string // may be nil
}

// newJSONHandler returns a handler that writes JSON without what redact finds.
func newJSONHandler(o LogOptions) slog.Handler {
	lines, ok := o.Writer.(*Lines)
	if !ok {
		lines = &Lines{w: o.Writer, direct: true}
	}
	var others slog.Handler = slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: o.Level, ReplaceAttr: redact})
	if o.RequestID != nil {
		others = requestHandler{others, o.RequestID}
	}
	return lineHandler{others, lines, o.RequestID}
}

// Handle implements slog.Handler.
func (h lineHandler) Handle(ctx context.Context, r slog.Record) error {
	id := ""
	if h.requestID != nil {
		id = h.requestID(ctx)
	}
	if ok, err := h.write(r, id); ok {
		return err
	}
	return h.Handler.Handle(ctx, r)
}

// write reports false, and has written nothing, when the record holds more than plain values.
func (h lineHandler) write(r slog.Record, id string) (ok bool, err error) {
	l := h.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	line, ok := appendRecord(l.waiting, r, id)
	if !ok {
		return false, nil
	}
	l.waiting = line
	return true, l.settle(r.Time, r.Level >= slog.LevelWarn)
}

func appendRecord(dst []byte, r slog.Record, id string) (line []byte, ok bool) {
	if r.Time.IsZero() {
		return dst, false
	}
	dst = append(dst, `{"time":"`...)
	dst = r.Time.AppendFormat(dst, time.RFC3339Nano)
	dst = append(append(dst, `","level":"`...), r.Level.String()...)
	dst = append(dst, '"')
	if dst, ok = appendField(dst, slog.String(slog.MessageKey, r.Message)); !ok {
		return dst, false
	}
	r.Attrs(func(a slog.Attr) bool {
		dst, ok = appendField(dst, a)
		return ok
	})
	if ok && id != "" {
		dst, ok = appendField(dst, slog.String("request_id", id))
	}
	return append(dst, '}', '\n'), ok
}

// appendField reports false for what it leaves to slog.JSONHandler.
func appendField(dst []byte, a slog.Attr) (field []byte, ok bool) {
	switch a.Value.Kind() {
	case slog.KindAny, slog.KindLogValuer, slog.KindGroup: // an error, for one, whose code must not run under the lock of all lines
		return dst, false
	}
	a = redact(nil, a)
	dst = append(dst, ',')
	if dst, ok = appendText(dst, a.Key); !ok || a.Key == "" {
		return dst, false
	}
	dst = append(dst, ':')
	switch a.Value.Kind() {
	case slog.KindString:
		return appendText(dst, a.Value.String())
	case slog.KindInt64:
		return strconv.AppendInt(dst, a.Value.Int64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(dst, a.Value.Bool()), true
	case slog.KindFloat64:
		f := a.Value.Float64()
		return strconv.AppendFloat(dst, f, 'f', -1, 64), f == 0 || math.Abs(f) >= 1e-6 && math.Abs(f) < 1e21
	}
	return dst, false
}

// appendText writes a text of printable ASCII characters as JSON, and reports false for any other.
func appendText(dst []byte, s string) (text []byte, ok bool) {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return dst, false
		case c == '"' || c == '\\':
			dst = append(append(dst, s[start:i]...), '\\')
			start = i
		}
	}
	return append(append(dst, s[start:]...), '"'), true
}
