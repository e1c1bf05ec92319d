// Package leaksafe is the root of a library of leak-safe patterns for Go services. It has no code
// of its own. Each package can be used alone:
//
//	leakcheck                finds leaks in tests, and says what retains the leaked object
//	leakcheck/watch          draws the memory of a live service, and says what grows
//	leakcheck/cmd/leakcheck  reads heap dumps, of any running Go process too
//	pool                     reuses buffers and objects, and holds no more than a budget
//	mapper                   maps structs to structs with one compiled plan per pair of types
//	ctxreq                   gives a request a scope that nothing outside can keep alive
//	batch                    collects items into batches, bounded in every dimension
//
// # Versions
//
// leaksafe follows semantic versioning. Before v1 a minor version may change the API; CHANGELOG.md
// then says how to move. The two newest Go releases are supported, now Go 1.26 and 1.27. Linux,
// macOS and Windows are supported; open files, resident memory and other processes are read on
// Linux only.
package leaksafe
