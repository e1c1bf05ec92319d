// Package pool reuses byte buffers and objects without keeping what should go,
// and without two owners for one buffer.
package pool
