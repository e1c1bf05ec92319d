package heapdump

import "bytes"

// otherFiles are what people give by mistake, by how each begins.
var otherFiles = []struct{ start, what string }{
	{"\x1f\x8b", "a gzip file, such as a pprof profile: read a profile with go tool pprof, unpack a dump with gunzip"},
	{"\x28\xb5\x2f\xfd", "a zstd file: unpack it with unzstd"},
	{"PK\x03\x04", "a zip file: unpack it"},
	{"heap profile: ", "a heap profile in pprof's text form, which names allocation sites, not references: write a dump with runtime/debug.WriteHeapDump or leakcheck dump"},
	{"goroutine profile: ", "a goroutine profile in pprof's text form"},
	{"goroutine ", "a list of goroutine stacks"},
	{"go 1.", "an execution trace: read it with go tool trace"},
	{"\xcf\xfa\xed\xfe", "a Mach-O executable: give the dump, and the executable with -exe"},
	{"MZ", "a Windows executable: give the dump, and the executable with -exe"},
	{"<", "an HTML or XML page"},
	{"{", "a JSON text"},
}

// otherFile says what a file that begins so probably is, or "".
func otherFile(start []byte) string {
	if bytes.HasPrefix(start, []byte("\x7fELF")) {
		const core = 4 // e_type
		if len(start) > 17 && max(start[16], start[17]) == core {
			return "a core file: leakcheck dump -core makes a dump of it"
		}
		return "an ELF executable: give the dump, and the executable with -exe"
	}
	for _, o := range otherFiles {
		if bytes.HasPrefix(start, []byte(o.start)) {
			return o.what
		}
	}
	return ""
}
