// Package ctxreq gives a request a scope: everything it needs while it lives,
// and nothing of it kept once it ends.
package ctxreq
