package config

import "strings"

// closest returns the candidate that was probably meant, or "".
func closest(word string, candidates []string) string {
	best, least := "", min(len(word)/2, 2)+1
	for _, c := range candidates {
		if d := distance(normal(word), normal(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// normal drops what people vary when they write the same word.
func normal(s string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(s))
}

// distance is the number of single-character edits between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
