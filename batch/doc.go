// Package batch collects items into batches in front of something slow, and is
// bounded in every dimension: items, bytes, time, calls in flight, callers that
// wait.
package batch
