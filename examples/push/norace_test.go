//go:build !race

package main

const raceTimes = 1
