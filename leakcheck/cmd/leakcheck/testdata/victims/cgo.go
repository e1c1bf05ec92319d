//go:build withcgo

package main

// #include <stdlib.h>
import "C"

// A program with C in it is linked by another linker, and its threads are made by C.
func init() { C.srand(C.uint(C.abs(-1))) }
