// Package odd has the name of another package of a test.
package odd

// A Value has a field of another name than the Value of the other package.
type Value struct{ M int }
