//go:build !linux && !darwin

package watch

func diskFree(string) int64 { return -1 }
