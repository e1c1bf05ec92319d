// Package leakcheck proves in a test that nothing leaks, and names who keeps
// what does.
package leakcheck
