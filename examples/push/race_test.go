//go:build race

package main

// raceTimes is how much more memory a worker may use, because the race detector needs it.
const raceTimes = 8
