//go:build !linux

package watch

// What only Linux can tell is unknown here, and said to be.

func residentBytes() int64 { return -1 }
func openFiles() int64     { return -1 }
func cgroupLimit() int64   { return 0 }
func machineMemory() int64 { return 0 }
