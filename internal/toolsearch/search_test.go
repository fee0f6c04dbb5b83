package toolsearch

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// corpus reads testdata/tools.txt through definitions such as a server sends them.
func corpus(t testing.TB) []Tool {
	t.Helper()
	text, err := os.ReadFile("testdata/tools.txt")
	if err != nil {
		t.Fatal(err)
	}
	var tools []Tool
	server, about := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if head, ok := strings.CutPrefix(line, "# "); ok {
			server, about, _ = strings.Cut(head, ": ")
			continue
		}
		parts := strings.Split(line, "|")
		if len(parts) != 3 {
			continue
		}
		properties := map[string]any{}
		for p := range strings.SplitSeq(parts[2], ";") {
			if name, text, _ := strings.Cut(strings.TrimSpace(p), ":"); name != "" {
				properties[name] = map[string]any{"type": "string", "description": strings.TrimSpace(text)}
			}
		}
		raw, err := json.Marshal(map[string]any{
			"name": strings.TrimSpace(parts[0]), "description": strings.TrimSpace(parts[1]),
			"inputSchema": map[string]any{"type": "object", "properties": properties},
		})
		if err != nil {
			t.Fatal(err)
		}
		tool := Parse(raw)
		tool.Server, tool.About = server, about
		tools = append(tools, tool)
	}
	return tools
}

type question struct {
	text string
	want []string // server/name
}

func questions(t testing.TB) []question {
	t.Helper()
	text, err := os.ReadFile("testdata/queries.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []question
	for line := range strings.Lines(string(text)) {
		if query, want, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
			all = append(all, question{query, strings.Split(want, ", ")})
		}
	}
	return all
}

func full(t *Tool) string { return t.Server + "/" + t.Name }

// rankOf returns at which place the first tool stands that was meant; 0 when none was found.
func rankOf(x *Index, q question, limit int) int {
	for i, n := range x.Search(Query{Text: q.text, Limit: limit}) {
		if slices.Contains(q.want, full(&x.Tools()[n])) {
			return i + 1
		}
	}
	return 0
}

// TestQuality asks for tools in words that people use. The bounds are somewhat below what is measured, so that a change
// that makes the search worse shows.
func TestQuality(t *testing.T) {
	t.Parallel()
	x := New(corpus(t))
	known := map[string]bool{}
	for i := range x.Tools() {
		known[full(&x.Tools()[i])] = true
	}
	if len(known) < 250 {
		t.Fatalf("%d tools", len(known))
	}
	all := questions(t)
	var first, five, ten int
	var missed []string
	reciprocal := 0.0
	for _, q := range all {
		for _, w := range q.want {
			if !known[w] {
				t.Fatalf("%q wants %s, which does not exist", q.text, w)
			}
		}
		rank := rankOf(x, q, 10)
		if rank == 1 {
			first++
		}
		if rank > 0 && rank <= 5 {
			five++
		} else {
			missed = append(missed, fmt.Sprintf("%s (%d)", q.text, rank))
		}
		if rank > 0 {
			ten++
			reciprocal += 1 / float64(rank)
		}
	}
	percent := func(n int) float64 { return 100 * float64(n) / float64(len(all)) }
	t.Logf("%d tools, %d queries: first %.1f %%, in five %.1f %%, in ten %.1f %%, mean reciprocal rank %.3f", len(known), len(all), percent(first), percent(five), percent(ten), reciprocal/float64(len(all)))
	t.Logf("not among five: %s", strings.Join(missed, "; "))
	if percent(first) < 57 || percent(five) < 82 {
		t.Error("the search has become worse")
	}
}

func ids(x *Index, hits []int) string {
	var all []string
	for _, n := range hits {
		all = append(all, x.Tools()[n].Name)
	}
	return strings.Join(all, " ")
}

// The same question has the same answer, however often it is asked and the index is made.
func TestSameAnswer(t *testing.T) {
	t.Parallel()
	tools := corpus(t)
	want := map[string]string{}
	for range 5 {
		x := New(tools)
		for _, q := range questions(t) {
			got := ids(x, x.Search(Query{Text: q.text, Limit: 20}))
			if w, seen := want[q.text]; seen && w != got {
				t.Fatalf("%q: %s, before %s", q.text, got, w)
			}
			want[q.text] = got
		}
	}
	same := New([]Tool{{Name: "b", Description: "weather"}, {Name: "a", Description: "weather"}, {Name: "c", Description: "weather"}})
	if got := ids(same, same.Search(Query{Text: "weather", Limit: 9})); got != "b a c" {
		t.Errorf("equal tools: %s", got)
	}
}

// What may not be found leaves its place to others.
func TestOnlyWhatIsAllowed(t *testing.T) {
	t.Parallel()
	x := New(corpus(t))
	all := x.Search(Query{Text: "create a pull request", Limit: 5})
	asked := map[int]int{}
	some := x.Search(Query{Text: "create a pull request", Limit: 5, Allow: func(n int) bool {
		asked[n]++
		return n != all[0] && n != all[2]
	}})
	if len(some) != 5 || slices.Contains(some, all[0]) || slices.Contains(some, all[2]) || some[0] != all[1] {
		t.Errorf("%v, without two of %v", some, all)
	}
	for n, times := range asked {
		if times != 1 {
			t.Errorf("asked %d times about %d", times, n)
		}
	}
	if len(asked) > 7 {
		t.Errorf("asked about %d tools", len(asked))
	}
	if got := x.Search(Query{Text: "create a pull request", Limit: 5, Allow: func(int) bool { return false }}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestNothingToFind(t *testing.T) {
	t.Parallel()
	x := New(corpus(t))
	for _, text := range []string{"", "   ", "the of and", "xyzzy", "?!", "\x00\xff"} {
		if got := x.Search(Query{Text: text, Limit: 5}); len(got) != 0 {
			t.Errorf("%q finds %s", text, ids(x, got))
		}
	}
	if got := x.Search(Query{Text: "weather", Limit: 0}); got != nil {
		t.Errorf("limit 0: %v", got)
	}
	if got := New(nil).Search(Query{Text: "weather", Limit: 5}); len(got) != 0 {
		t.Errorf("no tools: %v", got)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"getUserByID":                   "get user id",
		"list_pull-requests.v2":         "list pull request v2",
		"HTTPServerLogs":                "http server log",
		"S3 buckets, EC2":               "s3 bucket ec2",
		"What is the weather in Zürich": "weather zürich",
		"Überweisung":                   "überweisung",
		"天气预报 api":                      "天气 气预 预报 api",
		"東京の天気":                         "東京 京の の天 天気",
		"naïve café":                    "naïve café",
		strings.Repeat("x", 41) + " ok": "ok",
		"\xff\xfeabc":                   "abc",
	} {
		if got := strings.Join(split(text), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	tool := Parse([]byte(`{"name":"n","description":"d","annotations":{"title":"T"},"inputSchema":{"type":"object","properties":{
		"z":{"description":"last","enum":["one",2,"two"]},
		"a":{"type":"object","properties":{"inner":{"description":"deep"}}},
		"m":{"type":"array","items":{"properties":{"item":{}}}},
		"odd":7, "odd2":{"description":5}}}}`))
	want := `{n T d   [{a } {inner deep} {m } {item } {odd } {odd2 } {z last one two}]}`
	if got := fmt.Sprint(tool); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	deep := strings.Repeat(`{"properties":{"p":`, 50) + `{}` + strings.Repeat(`}}`, 50)
	if got := Parse([]byte(`{"name":"n","inputSchema":` + deep + `}`)); len(got.Params) != maxLevels {
		t.Errorf("%d parameters", len(got.Params))
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf(`"p%d":{}`, i)
	}
	if got := Parse([]byte(`{"inputSchema":{"properties":{` + strings.Join(many, ",") + `}}}`)); len(got.Params) != maxParams {
		t.Errorf("%d parameters", len(got.Params))
	}
	if got := Parse([]byte(`{"description":"` + strings.Repeat("é", maxText) + `"}`)); len(got.Description) > maxText || !strings.HasSuffix(got.Description, "é") {
		t.Errorf("a description of %d bytes", len(got.Description))
	}
}

// By words alone the one tool is found, by vectors the other; what stands well in both comes first.
func TestVectors(t *testing.T) {
	t.Parallel()
	tools := []Tool{{Name: "rain"}, {Name: "umbrella"}, {Name: "sun"}, {Name: "storm", Description: "rain and wind"}}
	x, err := New(tools).WithVectors([][]float32{{0, 1}, {1, 0}, {-1, 0}, {2, 2}})
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(x, x.Search(Query{Text: "rain", Limit: 9})); got != "rain storm" {
		t.Errorf("by words: %s", got)
	}
	if got := ids(x, x.Search(Query{Text: "rain", Vector: []float32{1, 0.5}, Limit: 9})); got != "storm rain umbrella sun" {
		t.Errorf("by both: %s", got)
	}
	if got := ids(x, x.Search(Query{Text: "nothing of the kind", Vector: []float32{1, 0}, Limit: 2})); got != "umbrella storm" {
		t.Errorf("by vectors: %s", got)
	}
	if got := ids(x, x.Search(Query{Text: "rain", Vector: []float32{1, 0, 0}, Limit: 9})); got != "rain storm" {
		t.Errorf("a vector of another size: %s", got)
	}
	for _, bad := range [][][]float32{{{1}}, {{1}, {1}, {1}, {1, 2}}, {{}, {}, {}, {}}} {
		if _, err := New(tools).WithVectors(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"name":"n","inputSchema":{"properties":{"a":{"items":{"properties":{"b":{}}}}}}}`, "find 天气 getUserByID")
	f.Add(`[1,{"name":3}]`, "\xff")
	f.Fuzz(func(t *testing.T, definition, query string) {
		tool := Parse([]byte(definition))
		x := New([]Tool{tool, {Name: query}})
		for _, n := range x.Search(Query{Text: query, Limit: 5}) {
			if n < 0 || n > 1 {
				t.Errorf("tool %d", n)
			}
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	tools := corpus(b)
	for len(tools) < 2000 {
		tools = append(tools, tools...)
	}
	x := New(tools)
	b.ReportAllocs()
	for b.Loop() {
		x.Search(Query{Text: "create a pull request for the bug in the login page", Limit: 10})
	}
}

func BenchmarkNew(b *testing.B) {
	tools := corpus(b)
	for b.Loop() {
		New(tools)
	}
}
