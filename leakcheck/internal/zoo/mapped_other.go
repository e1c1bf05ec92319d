//go:build !unix

package zoo

var mapped []Case
