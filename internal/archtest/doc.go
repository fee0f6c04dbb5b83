// Package archtest holds the tests of the shape of the source: which package may import which, what may be a package
// variable, which types may show in signatures, how long files are. It contains no code of the program.
package archtest
