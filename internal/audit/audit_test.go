package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"gatehouse/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, o Options) *Log {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run starts l and returns what stops it.
func run(t *testing.T, l *Log) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

// lines reads every record of every segment in a directory.
func lines(t *testing.T, dir string) []map[string]any {
	t.Helper()
	paths, _ := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	var all []map[string]any
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			var m map[string]any
			if err := json.Unmarshal(sc.Bytes(), &m); err != nil {
				t.Fatalf("%s: %q: %v", p, sc.Text(), err)
			}
			all = append(all, m)
		}
		f.Close()
	}
	return all
}

func TestRecordsReachTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := time.Date(2026, 11, 23, 8, 0, 0, 123e6, time.UTC)
	l := open(t, Options{Dir: dir, Now: func() time.Time { return at }})
	stop := run(t, l)
	err := l.Record(t.Context(), Event{
		Kind: KindCall, RequestID: "r1", Address: netip.MustParseAddr("192.0.2.7"), Person: identity.PersonKey{Issuer: "https://i.example", Subject: "s"},
		Client: "c", Endpoint: "/mcp", Target: "demo", Method: "tools/call", Name: "who\nami", Decision: Allow, Outcome: "ok", Duration: 1500 * time.Microsecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{
		"v": 1.0, "time": "2026-11-23T08:00:00.123Z", "kind": "call", "request_id": "r1", "address": "192.0.2.7", "issuer": "https://i.example", "subject": "s",
		"client": "c", "endpoint": "/mcp", "target": "demo", "method": "tools/call", "name": "who\nami", "decision": "allow", "outcome": "ok", "duration_ms": 1.5,
	}}
	if got := lines(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	info, err := os.Stat(filepath.Join(dir, "audit-20261123-1.jsonl"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("segment: %v %v", info, err)
	}
}

func TestNilLogKeepsNothing(t *testing.T) {
	t.Parallel()
	var l *Log
	if err := l.Record(t.Context(), Event{Kind: KindCall}); err != nil || l.Dropped()+l.Refused() != 0 || l.Waiting() != 0 || l.Fault() != nil {
		t.Error(err)
	}
	if err := run(t, l)(); err != nil {
		t.Error(err)
	}
}

func TestParallelRecordsAreAllKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, MaxBytes: 20_000})
	stop := run(t, l)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 250 {
				if err := l.Record(context.Background(), Event{Kind: KindCall, RequestID: fmt.Sprintf("%d-%d", g, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	for _, m := range lines(t, dir) {
		seen[m["request_id"]] = true
	}
	if len(seen) != 2000 {
		t.Errorf("%d of 2000 events kept", len(seen))
	}
}

func TestSegmentsRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, Options{Dir: dir, MaxBytes: 100}) // one event of this test has about 75 bytes
		stop := run(t, l)
		record := func() {
			if err := l.Record(t.Context(), Event{Kind: KindSignIn}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		for range 4 {
			record()
		}
		time.Sleep(24 * time.Hour)
		record()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		paths, _ := filepath.Glob(filepath.Join(dir, "*"))
		for i := range paths {
			paths[i] = filepath.Base(paths[i])
		}
		want := []string{"audit-20000101-1.jsonl", "audit-20000101-2.jsonl", "audit-20000102-1.jsonl"}
		if !reflect.DeepEqual(paths, want) {
			t.Errorf("segments %v, want %v", paths, want)
		}
	})
}

func TestARestartBeginsANewSegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 3 {
		l := open(t, Options{Dir: dir})
		stop := run(t, l)
		if err := l.Record(t.Context(), Event{Kind: KindStarted}); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "*-3.jsonl"))
	if len(paths) != 1 || len(lines(t, dir)) != 3 {
		t.Errorf("segments %v, %d records", paths, len(lines(t, dir)))
	}
}

func TestUnfinishedRecordIsSetAside(t *testing.T) {
	t.Parallel()
	whole := `{"v":1,"kind":"call"}` + "\n"
	for name, tc := range map[string]struct{ content, keep, aside string }{
		"whole":                 {whole + whole, whole + whole, ""},
		"empty":                 {"", "", ""},
		"cut":                   {whole + `{"v":1,"ki`, whole, `{"v":1,"ki`},
		"cut at the first":      {`{"v":1`, "", `{"v":1`},
		"zeros":                 {whole + "\x00\x00\x00", whole, "\x00\x00\x00"},
		"ended but not a value": {whole + "\x00\x00\n", whole, "\x00\x00\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "audit-20261123-7.jsonl")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			stop := run(t, open(t, Options{Dir: dir}))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			got, _ := os.ReadFile(path)
			if string(got) != tc.keep {
				t.Errorf("kept %q, want %q", got, tc.keep)
			}
			aside, _ := os.ReadFile(fmt.Sprintf("%s.%d.partial", path, len(tc.keep)))
			if string(aside) != tc.aside {
				t.Errorf("set aside %q, want %q", aside, tc.aside)
			}
		})
	}
}

func FuzzWholeRecords(f *testing.F) {
	f.Add([]byte("{}\n{"))
	f.Add([]byte("\n\n"))
	f.Add([]byte("{}\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := wholeRecords(b)
		if n < 0 || n > len(b) || n > 0 && b[n-1] != '\n' || wholeRecords(b[:n]) != n {
			t.Errorf("%q: %d", b, n)
		}
	})
}

func TestAnotherProcessIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, Options{Dir: dir})
	stopFirst := run(t, first)
	if err := first.segment.write([]byte(`{"half`), time.Now()); err != nil { // Run is idle: nothing was recorded
		t.Fatal(err)
	}
	second := open(t, Options{Dir: dir}) // must not take the half line for the remains of a crash
	stopSecond := run(t, second)
	if err := second.Record(t.Context(), Event{Kind: KindUserAdded}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stopSecond(), stopFirst()); err != nil {
		t.Fatal(err)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "*.partial"))
	all, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if len(aside) != 0 || len(all) != 2 {
		t.Errorf("set aside %v, segments %v", aside, all)
	}
}

// Files that an administrator moves away are complete, and what comes then goes into another. Without the directory nothing
// is recorded in silence.
func TestFilesThatAreTakenAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir, archive := filepath.Join(t.TempDir(), "audit"), t.TempDir()
		l := open(t, Options{Dir: dir})
		stop := run(t, l)
		record := func(id string) error {
			err := l.Record(t.Context(), Event{Kind: KindCall, RequestID: id})
			time.Sleep(50 * time.Millisecond)
			return err
		}
		for _, id := range []string{"one", "two"} {
			if err := record(id); err != nil {
				t.Fatal(err)
			}
			got := lines(t, dir)
			if len(got) != 1 || got[0]["request_id"] != id {
				t.Fatalf("the file that is new holds %v, want %s", got, id)
			}
			now, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
			if err := os.Rename(now[0], filepath.Join(archive, filepath.Base(now[0]))); err != nil {
				t.Fatal(err)
			}
		}
		if all := lines(t, archive); len(all) != 2 {
			t.Errorf("of two files that were moved away, one took the place of the other: %v", all)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		_ = record("lost")
		if err := record("refused"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("without a directory: %v", err)
		}
		if err := stop(); err == nil {
			t.Error("nothing was lost?")
		}
	})
}

// fullDisk is a file that can run out of space in the middle of a write.
type fullDisk struct {
	*os.File
	full *sync.Mutex // held while there is no space
}

func (d fullDisk) Write(b []byte) (int, error) {
	if !d.full.TryLock() {
		n, _ := d.File.Write(b[:len(b)/2])
		return n, syscall.ENOSPC
	}
	defer d.full.Unlock()
	return d.File.Write(b)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Strict, BestEffort} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { fullDiskScenario(t, mode) })
		})
	}
}

func fullDiskScenario(t *testing.T, mode Mode) {
	var logged bytes.Buffer
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, Mode: mode, MaxBuffer: 400, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	var full sync.Mutex
	create := l.segment.open
	l.segment.open = func(path string) (file, error) {
		f, err := create(path)
		if err != nil {
			return nil, err
		}
		return fullDisk{f.(*os.File), &full}, nil
	}
	stop := run(t, l)
	record := func(id string) error {
		err := l.Record(t.Context(), Event{Kind: KindCall, RequestID: id})
		time.Sleep(30 * time.Millisecond) // records are gathered for 20
		return err
	}
	if err := record("before"); err != nil {
		t.Fatal(err)
	}
	full.Lock()
	if err := record("waits"); err != nil { // taken: the fault shows when the disk is asked
		t.Fatal(err)
	}
	for range 10 {
		err := record("refused")
		if refused := errors.Is(err, ErrUnavailable); refused != (mode == Strict) {
			t.Errorf("record on a full disk: %v", err)
		}
	}
	if refused := errors.Is(l.Ready(t.Context()), ErrUnavailable); refused != (mode == Strict) {
		t.Errorf("ready on a full disk: %v", l.Ready(t.Context()))
	}
	if l.Fault() == nil || mode == BestEffort && l.Dropped() == 0 {
		t.Errorf("fault %v, dropped %d", l.Fault(), l.Dropped())
	}
	full.Unlock()
	time.Sleep(2 * time.Second)
	if err := record("after"); err != nil {
		t.Errorf("record after space came back: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range lines(t, dir) { // fails when half a line stayed
		ids = append(ids, fmt.Sprint(m["request_id"]))
	}
	text := strings.Join(ids, " ")
	if !strings.HasPrefix(text, "before waits ") || !strings.HasSuffix(text, " after") {
		t.Errorf("records: %s", text)
	}
	if n := strings.Count(logged.String(), "cannot be written"); n != 1 {
		t.Errorf("the fault was logged %d times:\n%s", n, logged.String())
	}
}

func TestBufferIsBounded(t *testing.T) {
	t.Parallel()
	var err error
	n, told := 0, 0
	l := open(t, Options{Dir: t.TempDir(), MaxBuffer: 1000, Told: func(Event) { told++ }}) // Run is not started: the slowest of disks
	for ; err == nil && n < 100; n++ {
		err = l.Record(t.Context(), Event{Kind: KindCall})
	}
	if !errors.Is(err, ErrUnavailable) || n > 20 {
		t.Errorf("after %d events: %v", n, err)
	}
	if told != n-1 || l.Refused() != 1 || l.Waiting() == 0 || l.Waiting() > 1000 {
		t.Errorf("of %d events %d were told, %d refused; %d bytes wait", n, told, l.Refused(), l.Waiting())
	}
}

// A disk that hangs gives no error. Who asks before a call must hear of it while there is room for the calls that were
// begun before.
func TestNotReadyWhileTheDiskHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{Dir: t.TempDir(), MaxBuffer: 10_000}) // Run is not started: the disk hangs for ever
		began, n := time.Now(), 0
		for ; l.Ready(t.Context()) == nil && n < 1000; n++ {
			if err := l.Record(t.Context(), Event{Kind: KindCall}); err != nil {
				t.Fatalf("event %d was lost, and Ready gave no warning: %v", n, err)
			}
		}
		if waited := time.Since(began); waited != patience {
			t.Errorf("a call waited for the disk for %v, want %v", waited, patience)
		}
		if err := l.Ready(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("it was then told: %v", err)
		}
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if began = time.Now(); l.Ready(gone) == nil || time.Since(began) != time.Second {
			t.Errorf("a call whose client left after a second waited for %v", time.Since(began))
		}
		for range n / 2 { // calls on their way
			if err := l.Record(t.Context(), Event{Kind: KindCall}); err != nil {
				t.Fatalf("the event of a call that had begun was lost: %v", err)
			}
		}
		best := open(t, Options{Dir: t.TempDir(), Mode: BestEffort, MaxBuffer: 1})
		began = time.Now()
		if err := best.Ready(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("best effort waits or refuses: %v", err)
		}
	})
}

// Disks of virtual machines stand still for a second now and then. Calls then take longer; none is refused, none is
// missing in the log.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, Options{Dir: dir, MaxBuffer: 10_000})
		create := l.segment.open
		l.segment.open = func(path string) (file, error) {
			f, err := create(path)
			return slowDisk{f}, err
		}
		stop := run(t, l)
		const callers, calls = 10, 50
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range calls {
					if err := l.Ready(t.Context()); err != nil {
						t.Error(err)
						return
					}
					if err := l.Record(t.Context(), Event{Kind: KindCall}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if n := len(lines(t, dir)); n != callers*calls {
			t.Errorf("%d of %d calls are in the log", n, callers*calls)
		}
	})
}

type slowDisk struct{ file }

func (d slowDisk) Sync() error {
	time.Sleep(2 * time.Second)
	return d.file.Sync()
}

func TestChecklist64_NoFieldForSecrets(t *testing.T) {
	t.Parallel()
	// Whatever is put into the named fields, nothing else can be: no map, no any, no raw JSON.
	for f := range reflect.TypeFor[Event]().Fields() {
		switch f.Type.Kind() {
		case reflect.Map, reflect.Interface, reflect.Func, reflect.Pointer:
			t.Errorf("field %s has the open type %s", f.Name, f.Type)
		}
		for _, word := range []string{"token", "secret", "password", "argument", "cookie", "code", "hash"} {
			if strings.Contains(strings.ToLower(f.Name), word) {
				t.Errorf("field %s looks like a place for a secret", f.Name)
			}
		}
	}
}

func TestLongFieldsAreCut(t *testing.T) {
	t.Parallel()
	a := new(encoder).appendLine(nil, &Event{Kind: KindCall, Name: strings.Repeat("ä", 5000) + "1"})
	b := new(encoder).appendLine(nil, &Event{Kind: KindCall, Name: strings.Repeat("ä", 5000) + "2"})
	if len(a) > 1000 || bytes.Equal(a, b) || !json.Valid(a) {
		t.Errorf("%d bytes: %s", len(a), a)
	}
}

// No field of an event is forgotten when it is written.
func TestLineSaysEverything(t *testing.T) {
	t.Parallel()
	var e Event
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("this is " + v.Type().Field(i).Name)
		}
	}
	line := string(new(encoder).appendLine(nil, &e))
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Type.Kind() == reflect.String && !strings.Contains(line, `"this is `+f.Name+`"`) {
			t.Errorf("%s is missing in %s", f.Name, line)
		}
	}
}

// A line is one JSON object on one line, and says what the event says.
func FuzzLine(f *testing.F) {
	f.Add("files", "read\n\"x\"", "ada@example.com", int64(1500))
	f.Add("\x00\x7f\u2028", "\xff\xfe", "é", int64(-1))
	f.Add("", "", "", int64(20_030))
	f.Fuzz(func(t *testing.T, target, name, subject string, micros int64) {
		e := Event{Time: time.Unix(1, 5), Kind: KindCall, Address: netip.MustParseAddr("2001:db8::1"), Target: target, Name: name,
			Person: identity.PersonKey{Issuer: "https://i", Subject: subject}, Scopes: identity.Scopes{"a", "b"}, Duration: time.Duration(micros) * time.Microsecond}
		b := new(encoder).appendLine(nil, &e)
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil || bytes.IndexByte(b, '\n') != len(b)-1 {
			t.Fatalf("%v: %q", err, b)
		}
		if len(name) <= maxField && utf8.ValidString(name) && name != "" && got["name"] != name {
			t.Errorf("name %q became %q", name, got["name"])
		}
		if took, ok := got["duration_ms"].(float64); ok != (e.Duration.Microseconds() > 0) || ok && took != float64(e.Duration.Microseconds())/1000 {
			t.Errorf("%s was written as %v ms", e.Duration, got["duration_ms"])
		}
		if got["v"] != 1.0 || got["kind"] != "call" || got["time"] != "1970-01-01T00:00:01.000000005Z" || got["scopes"] != "a b" || got["address"] != "2001:db8::1" {
			t.Errorf("%s", b)
		}
	})
}

// Times and durations are written as the standard library writes them, whatever was written before.
func TestTimesAndDurations(t *testing.T) {
	t.Parallel()
	var c encoder
	for _, at := range []time.Time{
		{}, time.Unix(0, 0), time.Unix(0, 1), time.Unix(-1, 999_999_999), time.Unix(1_700_000_000, 120_000_000), time.Unix(1_700_000_000, 0),
		time.Date(2026, 2, 28, 23, 59, 59, 100, time.FixedZone("", -3600)), time.Date(2026, 3, 1, 0, 59, 59, 123_456_789, time.UTC),
	} {
		for _, took := range []time.Duration{-time.Second, 0, 999, time.Microsecond, 20_030 * time.Microsecond, 1500 * time.Millisecond, 1<<62 + 1000} {
			want := `{"v":1,"time":"` + at.UTC().Format(time.RFC3339Nano) + `","kind":"call"`
			if us := took.Microseconds(); us > 0 {
				want += `,"duration_ms":` + strconv.FormatFloat(float64(us)/1000, 'f', -1, 64)
			}
			if got := string(c.appendLine(nil, &Event{Time: at, Kind: KindCall, Duration: took})); got != want+"}\n" {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: path, Log: quiet(), Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "check that the directory") {
		t.Error(err)
	}
}

func BenchmarkRecord(b *testing.B) {
	l, err := Open(Options{Dir: b.TempDir(), MaxBuffer: 1 << 30, Now: time.Now, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(ctx) }()
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Record(ctx, Event{Kind: KindCall, Target: "demo", Name: "whoami", Decision: Allow})
	}
	cancel()
	<-done
}
