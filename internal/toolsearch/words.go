package toolsearch

import (
	"strings"
	"unicode"

	"github.com/kljensen/snowball/english"
)

// maxWord is how long a word may be; longer ones are data, not words.
const maxWord = 40

// split returns the words of a text: identifiers come apart where their parts meet (get_userById), endings go (reports,
// reporting), words that say nothing are left out. Scripts without spaces between words come apart into pairs of
// characters.
func split(text string) []string {
	var words []string
	add := func(word string) {
		if word == "" || len(word) > maxWord || noise[word] {
			return
		}
		words = append(words, stem(word))
	}
	runes := []rune(text)
	start := 0
	for i, r := range runes {
		switch {
		case spaceless(r):
			add(strings.ToLower(string(runes[start:i])))
			start = i + 1
			if i+1 < len(runes) && spaceless(runes[i+1]) {
				words = append(words, string(runes[i:i+2]))
			}
		case !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r):
			add(strings.ToLower(string(runes[start:i])))
			start = i + 1
		case i > start && boundary(runes, i):
			add(strings.ToLower(string(runes[start:i])))
			start = i
		}
	}
	add(strings.ToLower(string(runes[start:])))
	return words
}

// boundary reports whether a new part of an identifier begins at i: userName, HTTPServer, but not S3 or 2fa.
func boundary(runes []rune, i int) bool {
	before, at := runes[i-1], runes[i]
	switch {
	case unicode.IsLower(before) && unicode.IsUpper(at):
		return true
	case unicode.IsUpper(before) && unicode.IsUpper(at):
		return i+1 < len(runes) && unicode.IsLower(runes[i+1])
	}
	return false
}

// spaceless reports whether a character belongs to a script that puts no spaces between words.
func spaceless(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai)
}

func stem(word string) string {
	for _, r := range word {
		if r >= unicode.MaxASCII {
			return word
		}
	}
	return english.Stem(word, false)
}

// noise are words that say nothing about what a tool does.
var noise = set(`a about after all also an and any are as at be been being but by can could do does doing for from had has
have having how i if in into is it its itself let me more most my of on only or other our out own please should so some
such than that the their them then there these they this those through to tool tools use used uses using very via
want was we were what when where which while who whom why will with would you your`)

func set(words string) map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		all[word] = true
	}
	return all
}

// alike is what a synonym counts beside the word itself.
const alike = 0.4

// widen gives each word its weight, and adds those that mean much the same.
func widen(words []string) map[string]float64 {
	weights := make(map[string]float64, len(words))
	for _, word := range words {
		weights[word] = 1
	}
	for _, word := range words {
		for _, other := range synonyms[word] {
			if weights[other] == 0 {
				weights[other] = alike
			}
		}
	}
	return weights
}

// synonyms are groups of words, in ordinary use for the same thing, by stem.
var synonyms = groups(`
add create new make insert register
delete remove erase drop destroy clear
get fetch read retrieve show view display load
list enumerate browse
find search lookup query locate discover
update edit change modify alter set patch
send post publish submit
message chat dm
email mail inbox
picture image photo
file document attachment
folder directory
repository repo
ticket issue bug
event meeting appointment
calendar schedule
customer client
person people contact member employee colleague
payment charge
invoice bill
refund reimburse
run execute invoke perform
stop cancel terminate abort halt
start begin launch boot
database db
url link address
website webpage page site
weather forecast temperature
currency exchange
stock share equity
map direction route navigation
hotel accommodation lodging
log logs trace
deploy release rollout
container docker
kubernetes k8s
secret credential password
notify alert notification reminder
summary summarize abstract
translate translation
convert transform
compare diff difference
copy duplicate clone
move rename relocate
order purchase buy
price cost quote
metric measurement statistic
chart graph plot
todo task reminder
note memo
approve accept confirm
reject decline deny
join merge combine
holiday vacation leave absence
salary payroll wage
`)

func groups(text string) map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		for i := range words {
			words[i] = stem(words[i])
		}
		for _, word := range words {
			for _, other := range words {
				if other != word {
					all[word] = append(all[word], other)
				}
			}
		}
	}
	return all
}
