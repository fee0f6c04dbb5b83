package target

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
)

// process is a running command that speaks MCP over its standard input and output, one message a line (2025-11-25
// basic/transports, stdio).
type process struct {
	t       *Target
	cmd     *exec.Cmd
	stdin   *os.File
	server  Server // set by the handshake, before anybody else has the process
	started time.Time
	ids     atomic.Int64
	batches atomic.Bool // its revision has arrays of messages

	out  chan []byte   // lines to write
	gone chan struct{} // closed when the process has ended and its output has been read
	err  error         // why it ended; set before gone is closed
	said string        // the last line on stderr, for err; belongs to its reader until that has ended

	pending pending

	mu    sync.Mutex     // guards what follows
	links []*commandLink // those that called latest come last
}

const (
	stderrLine = 1000
	stopGrace  = 2 * time.Second        // between closing stdin, asking, and killing
	lastWords  = 250 * time.Millisecond // for output that is still in the pipe when the process has ended
)

// startProcess starts the command with nothing but what the options list: the environment, three descriptors.
func startProcess(ctx context.Context, t *Target) (*process, error) {
	o := t.opt.Command
	cmd := exec.Command(o.Args[0], o.Args[1:]...) //nolint:noctx // it outlives the request that starts it; stop ends it
	cmd.Dir = o.Dir
	cmd.Env = environment(o)
	cmd.SysProcAttr = ownGroup()
	var ours []*os.File
	var theirs []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close()
		}
	}
	defer func() { closeAll(theirs) }()
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ours)
			return nil, fmt.Errorf("start %s: %w", o.Args[0], err)
		}
		if len(ours) == 0 {
			r, w = w, r // the first is stdin: we write
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	if err := cmd.Start(); err != nil {
		closeAll(ours)
		return nil, fmt.Errorf("start %s: %w; is the command installed and on the PATH?", o.Args[0], err)
	}
	p := &process{
		t:       t,
		cmd:     cmd,
		stdin:   ours[0],
		started: time.Now(),
		out:     make(chan []byte),
		gone:    make(chan struct{}),
	}
	go p.supervise(ctx, ours[1], ours[2])
	return p, nil
}

// environment is PATH and HOME, unless they are listed, and what is listed.
func environment(o *CommandOptions) []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME"} {
		if _, listed := o.Env[name]; !listed {
			if v, ok := os.LookupEnv(name); ok {
				env = append(env, name+"="+v)
			}
		}
	}
	for name, value := range o.Env {
		env = append(env, name+"="+value.Reveal())
	}
	return env
}

// supervise runs the process's readers and writer until it has ended; closing gone is its last act.
func (p *process) supervise(ctx context.Context, stdout, stderr *os.File) {
	ctx, cancel := context.WithCancel(ctx)
	var readers, writer sync.WaitGroup
	readers.Go(func() { p.readOut(ctx, stdout) })
	readers.Go(func() { p.readErr(stderr) })
	writer.Go(func() { p.write(ctx) })
	err := p.cmd.Wait()
	// Children of the process may still hold its pipes: end them, and read what it said last.
	killGroup(p.cmd.Process)
	for _, f := range []*os.File{stdout, stderr} {
		if f.SetReadDeadline(time.Now().Add(lastWords)) != nil {
			_ = f.Close()
		}
	}
	readers.Wait()
	cancel()
	_ = p.stdin.Close()
	writer.Wait()
	_ = stdout.Close()
	_ = stderr.Close()
	if err == nil {
		err = errors.New("exit status 0")
	}
	p.err = fmt.Errorf("the command ended: %w; it last wrote %q", err, p.said)
	close(p.gone)
}

func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// reason says why the process ended; call it after gone.
func (p *process) reason() error { return p.err }

// stop ends the process and its children: it closes standard input, asks, and at last kills (2025-11-25
// basic/lifecycle, shutdown).
func (p *process) stop() {
	_ = p.stdin.Close()
	for _, next := range []func(*os.Process){terminateGroup, killGroup} {
		timer := time.NewTimer(stopGrace)
		select {
		case <-p.gone:
			timer.Stop()
			return
		case <-timer.C:
			next(p.cmd.Process)
		}
	}
	<-p.gone
}

func (p *process) write(ctx context.Context) {
	for {
		select {
		case line := <-p.out:
			if _, err := p.stdin.Write(line); err != nil {
				p.t.opt.Log.Debug("target process does not read", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// send hands a message to the writer. Line ends are white space between tokens, for a string cannot hold them raw.
func (p *process) send(ctx context.Context, body []byte) error {
	line := make([]byte, 0, len(body)+1)
	for _, c := range body {
		if c == '\n' || c == '\r' {
			c = ' '
		}
		line = append(line, c)
	}
	line = append(line, '\n')
	select {
	case <-p.gone:
		return errSessionGone
	default:
	}
	select {
	case p.out <- line:
		return nil
	case <-p.gone:
		return errSessionGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *process) exchange(ctx context.Context, r *request) (mcp.Message, error) {
	w := p.pending.await(string(r.id))
	defer p.pending.dismiss(string(r.id), w)
	if err := p.send(ctx, r.body); err != nil {
		return mcp.Message{}, err
	}
	m, err := w.response(ctx, p.t, r, nil, p.gone)
	if errors.Is(err, errStreamEnded) {
		err = p.t.trouble(Down, p.err)
	}
	return m, err
}

func (p *process) attach(l *commandLink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links = append(p.links, l)
}

// touch notes that an attached connection calls.
func (p *process) touch(l *commandLink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.links, l); i >= 0 {
		p.links = append(slices.Delete(p.links, i, i+1), l)
	}
}

func (p *process) detach(l *commandLink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links = slices.DeleteFunc(p.links, func(o *commandLink) bool { return o == l })
}

func (p *process) readOut(ctx context.Context, stdout io.Reader) {
	r := bufio.NewReaderSize(stdout, 64<<10)
	for {
		line, tooLong, err := readLine(r, p.t.opt.MaxMessage)
		switch {
		case err != nil:
			return
		case tooLong:
			p.t.opt.Log.Warn("target wrote a line that is too long", "limit", p.t.opt.MaxMessage)
			p.pending.failOnly()
		case len(bytes.TrimSpace(line)) > 0:
			messages, err := decodeSome(line, p.batches.Load())
			if err != nil {
				p.t.opt.Log.Warn("target wrote a line that is not a message", "bytes", len(line), "error", err)
				continue
			}
			for _, m := range messages {
				p.dispatch(ctx, m)
			}
		}
	}
}

// readLine returns one line in memory of its own, without its end. Of a line that is too long nothing is kept.
func readLine(r *bufio.Reader, limit int) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if !tooLong {
			line = append(line, part...)
		}
		if len(line) > limit {
			line, tooLong = nil, true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, tooLong, err
		}
	}
}

// dispatch brings a message of the process to whom it concerns. What belongs to no call goes to the connection that
// called last, news about resources to all.
func (p *process) dispatch(ctx context.Context, m mcp.Message) {
	p.mu.Lock()
	links := slices.Clone(p.links)
	p.mu.Unlock()
	call := p.pending.concerned(&m)
	switch {
	case m.Kind == mcp.KindResponse:
		if call == nil {
			p.t.opt.Log.Debug("target answered a request that nobody waits for")
			return
		}
		offer(call.reply, m)
	case m.Method == mcp.NoteResourceUpdated || m.Method == mcp.NoteCancelled:
		for _, l := range links {
			l.c.came(ctx, nil, l, &m, nil)
		}
	case call != nil:
		offer(call.notes, m)
	case m.Method != mcp.NoteProgress && len(links) > 0:
		l := links[len(links)-1]
		l.c.came(ctx, nil, l, &m, nil)
	}
}

// readErr logs what the command writes for people, line by line, each cut to a bound.
func (p *process) readErr(stderr io.Reader) {
	r := bufio.NewReaderSize(stderr, stderrLine)
	for cut := false; ; {
		line, more, err := r.ReadLine()
		if err != nil {
			return
		}
		if !cut && len(line) > 0 {
			p.t.opt.Log.Info("target stderr", "line", string(line))
			p.said = string(line)
		}
		cut = more
	}
}
