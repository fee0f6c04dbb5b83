package toolsearch

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Vectors are the vectors of an index's tools.
type Vectors struct {
	size int
	all  []float32 // one after the other, each of length 1
}

// WithVectors returns the index with a vector for each of its tools, in their order.
func (x *Index) WithVectors(vectors [][]float32) (*Index, error) {
	if len(vectors) != len(x.tools) {
		return nil, fmt.Errorf("%d vectors for %d tools", len(vectors), len(x.tools))
	}
	with := *x
	if len(vectors) == 0 {
		return &with, nil
	}
	v := &Vectors{size: len(vectors[0])}
	v.all = make([]float32, 0, v.size*len(vectors))
	for i, one := range vectors {
		if len(one) != v.size || v.size == 0 {
			return nil, fmt.Errorf("vector %d has %d numbers, the first one has %d", i, len(one), v.size)
		}
		v.all = append(v.all, one...)
		unit(v.all[i*v.size:])
	}
	with.vectors = v
	return &with, nil
}

// unit makes a vector one of length 1.
func unit(v []float32) {
	sum := 0.0
	for _, f := range v {
		sum += float64(f) * float64(f)
	}
	if length := math.Sqrt(sum); length > 0 {
		for i := range v {
			v[i] = float32(float64(v[i]) / length)
		}
	}
}

// nearest ranks the tools by the angle between their vector and q's, and returns the first few.
func (v *Vectors) nearest(q []float32, few int) []int {
	if len(q) != v.size {
		return nil
	}
	n := len(v.all) / v.size
	scores, ranks := make([]float64, n), make([]int, n)
	for i := range n {
		sum := 0.0
		for j, f := range v.all[i*v.size : (i+1)*v.size] {
			sum += float64(f) * float64(q[j])
		}
		scores[i], ranks[i] = round(sum), i
	}
	slices.SortFunc(ranks, func(i, j int) int { return cmp.Or(cmp.Compare(scores[j], scores[i]), cmp.Compare(i, j)) })
	return ranks[:min(few, n)]
}
