package leakcheck

// FileFix says how to close what an open file of a kind leads to.
func FileFix(kind string) string {
	switch kind {
	case "socket":
		return "close the connection or listener; for HTTP read the body to its end and close it, then call CloseIdleConnections on the client"
	case "pipe":
		return "close both ends of the pipe; after exec.Cmd's StdoutPipe and the like, call Wait"
	}
	return "close the file, with defer or t.Cleanup"
}
