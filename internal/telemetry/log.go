package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// The formats of logs.
const (
	FormatAuto = "auto" // text on a terminal, JSON elsewhere
	FormatJSON = "json"
	FormatText = "text"
)

// LogOptions describe a logger.
type LogOptions struct {
	Writer    io.Writer    // *Lines gathers lines; anything else gets them one by one
	Format    string       // "" means FormatAuto
	Level     slog.Leveler // nil means info; a *slog.LevelVar can be changed while running
	RequestID func(context.Context) string
	NoColor   bool // the NO_COLOR convention: set when that variable is not empty
}

// NewLogger returns a logger whose records carry the id of the request they belong to.
func NewLogger(o LogOptions) (*slog.Logger, error) {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	terminal := isTerminal(o.Writer)
	if o.Format == "" || o.Format == FormatAuto {
		o.Format = FormatJSON
		if terminal {
			o.Format = FormatText
		}
	}
	var h slog.Handler
	switch o.Format {
	case FormatJSON:
		return slog.New(newJSONHandler(o)), nil
	case FormatText:
		h = newTextHandler(o.Writer, o.Level, terminal && !o.NoColor)
	default:
		return nil, fmt.Errorf("log format %q: use auto, json or text", o.Format)
	}
	if o.RequestID != nil {
		h = requestHandler{h, o.RequestID}
	}
	return slog.New(h), nil
}

func isTerminal(w io.Writer) bool {
	if l, ok := w.(*Lines); ok {
		w = l.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// requestHandler adds the request id that the context carries.
type requestHandler struct {
	slog.Handler
	requestID func(context.Context) string
}

func (h requestHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := h.requestID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs), h.requestID}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name), h.requestID}
}
