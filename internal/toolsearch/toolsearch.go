// Package toolsearch finds tools by what somebody wants to do. It is pure: an index is made once from the definitions of
// tools and never changes; whoever searches says which tools may be found.
//
// The ranking is BM25F: words count by field (the name most, then title and description, then parameters), by how rare
// they are among all tools, and against the length of the field. Words are split where identifiers are, reduced to their
// stem, and widened by a few groups of synonyms. A second ranking, by vectors that somebody else made, can be joined to
// it by reciprocal rank fusion. Equal ranks keep the order of the tools, so that the same question has the same answer.
//
// It does not know who asks, where tools come from, nor how vectors are made.
//
// Sources: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009); Cormack, Clarke and
// Büttcher, Reciprocal Rank Fusion (2009).
package toolsearch

import (
	"cmp"
	"math"
	"slices"
)

// The parameters of BM25, and what a word counts in each field.
const (
	k1 = 1.2
	b  = 0.6
)

// field is a part of a tool's definition.
type field int

const (
	inName field = iota
	inTitle
	inDescription
	inServer
	inServerText
	inParamNames
	inParamText
	fields
)

func (f field) weight() float64 {
	return [fields]float64{inName: 3, inTitle: 2, inDescription: 1, inServer: 1, inServerText: 0.3, inParamNames: 0.5, inParamText: 0.3}[f]
}

// Index finds tools. It is immutable and safe for concurrent use.
type Index struct {
	tools    []Tool
	postings map[string][]posting
	vectors  *Vectors
}

// posting says how much a word counts in a tool.
type posting struct {
	tool  int32
	count float32 // occurrences, weighted by field and length
}

// New makes an index of tools.
func New(tools []Tool) *Index {
	x := &Index{tools: tools, postings: map[string][]posting{}}
	words := make([][fields][]string, len(tools))
	var total [fields]int
	for i := range tools {
		words[i] = tools[i].words()
		for f, w := range words[i] {
			total[f] += len(w)
		}
	}
	for i := range words {
		counts := map[string]float64{}
		for f, w := range words[i] {
			if len(w) == 0 {
				continue
			}
			average := float64(total[f]) / float64(len(tools))
			each := field(f).weight() / (1 - b + b*float64(len(w))/average)
			for _, word := range w {
				counts[word] += each
			}
		}
		for word, n := range counts {
			x.postings[word] = append(x.postings[word], posting{int32(i), float32(n)})
		}
	}
	return x
}

// Tools returns what the index was made of. The caller does not change it.
func (x *Index) Tools() []Tool { return x.tools }

// Query is what somebody looks for.
type Query struct {
	Text   string
	Vector []float32           // of Text, when the index has vectors; nil ranks by words alone
	Limit  int                 // how many hits at most
	Allow  func(tool int) bool // whether the tool of this number may be found; nil allows all
}

// Search returns the numbers of the tools that fit best, the best first.
func (x *Index) Search(q Query) []int {
	if q.Limit <= 0 {
		return nil
	}
	ranks := x.byWords(q.Text)
	if q.Vector != nil && x.vectors != nil {
		ranks = fuse(ranks, x.vectors.nearest(q.Vector, depth))
	}
	var found []int
	for _, tool := range ranks {
		if q.Allow == nil || q.Allow(tool) {
			if found = append(found, tool); len(found) == q.Limit {
				break
			}
		}
	}
	return found
}

// byWords ranks every tool that has a word of the text.
func (x *Index) byWords(text string) []int {
	scores := map[int32]float64{}
	for word, weight := range widen(split(text)) {
		list := x.postings[word]
		if len(list) == 0 {
			continue
		}
		n, all := float64(len(list)), float64(len(x.tools))
		rare := math.Log(1 + (all-n+0.5)/(n+0.5))
		for _, p := range list {
			scores[p.tool] += weight * rare * float64(p.count) / (k1 + float64(p.count))
		}
	}
	return sorted(scores)
}

// sorted returns the tools by their score, the best first, equal ones in their own order.
func sorted(scores map[int32]float64) []int {
	ranks := make([]int, 0, len(scores))
	for tool := range scores {
		ranks = append(ranks, int(tool))
	}
	slices.SortFunc(ranks, func(i, j int) int {
		return cmp.Or(cmp.Compare(round(scores[int32(j)]), round(scores[int32(i)])), cmp.Compare(i, j))
	})
	return ranks
}

// round takes off what the order of additions makes different from one time to the next.
func round(score float64) float64 { return math.Round(score * 1e9) }

// Bounds and parameter of the fusion of two rankings.
const (
	depth    = 100 // how far down each ranking counts
	fuseBase = 60  // how little it matters whether a tool is first or second
)

// fuse joins two rankings: what stands well in both comes first.
func fuse(rankings ...[]int) []int {
	scores := map[int32]float64{}
	for _, ranks := range rankings {
		for at, tool := range ranks[:min(len(ranks), depth)] {
			scores[int32(tool)] += 1 / float64(fuseBase+at+1)
		}
	}
	return sorted(scores)
}
