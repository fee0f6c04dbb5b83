package target

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/sandbox"
)

// process is a running command that speaks MCP over its standard input and output, one message a line (2025-11-25
// basic/transports, stdio).
type process struct {
	t       *Target
	running *sandbox.Process
	at      *place
	stdin   *os.File
	errors  *stderr
	shared  bool   // by persons who must not hear of each other
	server  Server // set by the handshake, before anybody else has the process
	started time.Time
	ids     atomic.Int64
	batches atomic.Bool // its revision has arrays of messages

	stateless bool // set before anybody else has the process

	out    chan []byte   // lines to write
	silent chan struct{} // holds one: a call had no answer in time
	spoke  atomic.Bool   // it sent a message since it was last asked for a sign of life
	exited chan struct{} // closed when the process has ended
	gone   chan struct{} // closed when its output has been read, too
	err    error         // why it ended; set before gone is closed

	pending pending

	mu    sync.Mutex     // guards what follows
	links []*commandLink // those that called latest come last
}

const (
	stopGrace = 2 * time.Second        // between closing stdin, asking, and killing
	lastWords = 250 * time.Millisecond // for output that is still in the pipe when the process has ended
	pingTime  = 10 * time.Second       // for a sign of life of a process that left a call without an answer
)

// startProcess starts the command with nothing but what the options list: the environment, three descriptors, a place
// to work. The place among the processes is given back when it has ended.
func startProcess(ctx context.Context, t *Target, key slotKey, at *place) (*process, error) {
	c, err := t.opt.Command.sandboxed(t.opt.Name, key.person)
	if err != nil {
		at.free()
		return nil, err
	}
	p := &process{
		t:       t,
		at:      at,
		started: time.Now(),
		out:     make(chan []byte),
		silent:  make(chan struct{}, 1),
		exited:  make(chan struct{}),
		gone:    make(chan struct{}),
		shared:  t.opt.Command.Shared,
		errors:  newStderr(t),
	}
	var pipes [3]struct{ r, w *os.File }
	for i := range pipes {
		if pipes[i].r, pipes[i].w, err = os.Pipe(); err != nil {
			err = fmt.Errorf("start %s: %w", c.Args[0], err)
			break
		}
	}
	in, out, said := pipes[0], pipes[1], pipes[2]
	if err == nil {
		p.running, err = sandbox.Start(ctx, *c, t.opt.Command.Scratch, in.r, out.w, said.w)
	}
	closeAll(in.r, out.w, said.w)
	if err != nil {
		closeAll(in.w, out.r, said.r)
		at.free()
		return nil, err
	}
	p.stdin = in.w
	go p.supervise(lasting(), out.r, said.r)
	return p, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // nil files say so, and nobody listens
	}
}

// sandboxed is the command as the options want it run for a person.
func (o *CommandOptions) sandboxed(name, person string) (*sandbox.Command, error) {
	c := &sandbox.Command{
		Name: name, Args: o.Args, Dir: o.Dir, Mode: o.Sandbox, Hidden: o.Hidden, Read: o.Read, Write: o.Write, Limits: o.Limits,
	}
	if o.Home != "" {
		of := sha256.Sum256([]byte(person)) // a name that any file system takes, and that says nothing
		c.Home = filepath.Join(o.Home, hex.EncodeToString(of[:16]))
	}
	if o.RunAs != "" {
		var err error
		if c.User, err = sandbox.FindUser(o.RunAs); err != nil {
			return nil, err
		}
	}
	if _, listed := o.Env["PATH"]; !listed {
		c.Env = append(c.Env, "PATH="+os.Getenv("PATH"))
	}
	for name, value := range o.Env {
		c.Env = append(c.Env, name+"="+value.Reveal())
	}
	return c, nil
}

// supervise runs the process's readers and writer until it has ended; closing gone is its last act.
func (p *process) supervise(ctx context.Context, stdout, stderr *os.File) {
	ctx, cancel := context.WithCancel(ctx)
	var readers, writer sync.WaitGroup
	readers.Go(func() {
		p.readOut(ctx, stdout)
		p.end("it closed its standard output")
	})
	readers.Go(func() { p.errors.read(stderr) })
	writer.Go(func() { p.write(ctx) })
	writer.Go(func() { p.watchSilence(ctx) })
	err := p.running.Wait()
	close(p.exited)
	// Where children of the process cannot all be ended, some may still hold its pipes.
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
	p.err = fmt.Errorf("the command ended: %w; it last wrote %q", err, p.errors.last)
	p.at.free()
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

// stop ends the process, and waits until its output has been read.
func (p *process) stop() {
	p.end("")
	<-p.gone
}

// end ends the process and its children: it closes standard input, asks, and at last kills (2025-11-25 basic/lifecycle,
// shutdown). Why is for the log, when nobody wanted it to end and it does not do so by itself.
func (p *process) end(why string) {
	_ = p.stdin.Close()
	for _, next := range []func(){p.running.Terminate, p.running.Kill} {
		timer := time.NewTimer(stopGrace)
		select {
		case <-p.exited:
			timer.Stop()
			return
		case <-timer.C:
		}
		if why != "" {
			p.t.opt.Log.Warn("target process can do nothing more, and is ended", "reason", why)
			why = ""
		}
		next()
	}
	<-p.exited
}

// watchSilence ends a process that hangs: it left a call without an answer in time, and then even a ping, and says nothing
// else either. Else it would keep a person's place for as long as that person tries.
func (p *process) watchSilence(ctx context.Context) {
	for {
		select {
		case <-p.silent:
		case <-p.exited:
			return
		}
		if !p.lives(ctx) {
			p.end("it answers no call, and no ping")
		}
	}
}

// lives reports whether the process answers a ping, be it with an error. If it does one thing after the other, it may not come
// to the ping in time, but then it sends something else.
func (p *process) lives(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, min(pingTime, p.t.opt.Timeout))
	defer cancel()
	id := strconv.AppendInt(nil, p.ids.Add(1), 10)
	w := p.pending.awaitAside(string(id))
	defer p.pending.dismiss(string(id), w)
	p.spoke.Store(false)
	ping := &mcp.Message{Method: mcp.MethodPing}
	if p.send(ctx, ping.AppendRequest(nil, id, mcp.Edit{})) == nil {
		select {
		case <-w.reply:
			return true
		case <-ctx.Done():
		}
	}
	return p.spoke.Load()
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

func (p *process) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	w := p.pending.await(string(r.id))
	defer p.pending.dismiss(string(r.id), w)
	if err := p.send(ctx, r.body); err != nil {
		return nil, err
	}
	m, err := w.response(ctx, r, nil, p.gone)
	switch {
	case errors.Is(err, errStreamEnded):
		err = p.t.trouble(Down, p.err)
	case err != nil && errors.Is(context.Cause(ctx), errTimeout):
		select {
		case p.silent <- struct{}{}:
		default:
		}
	}
	if err != nil {
		return nil, err
	}
	return p.t.outcome(&m, r)
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
			p.pending.failOnly(p.t.tooLarge())
		case len(bytes.TrimSpace(line)) > 0:
			messages, err := decodeSome(line, p.batches.Load())
			if err != nil {
				p.t.opt.Log.Warn("target wrote a line that is not a message", "bytes", len(line), "error", err)
				p.pending.failNamed(line, p.t.trouble(Rubbish, err))
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
	p.spoke.Store(true)
	p.mu.Lock()
	links := slices.Clone(p.links)
	p.mu.Unlock()
	call := p.pending.concerned(&m)
	switch {
	case m.Kind == mcp.KindRequest && p.stateless:
		p.t.opt.Log.Warn("target sent a request, which the stateless era has not", "method", m.Method)
	case m.Kind == mcp.KindResponse:
		if call == nil {
			p.t.opt.Log.Debug("target answered a request that nobody waits for")
			return
		}
		offer(call.reply, m)
	case call != nil && subscribed(&m) != nil:
		offer(call.notes, m)
	case p.shared:
		p.dispatchShared(ctx, links, call, &m)
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
