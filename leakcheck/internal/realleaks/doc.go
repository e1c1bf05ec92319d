// Package realleaks holds leaks of public modules: each at the last version that leaks and at the
// first that does not. The tests run with the fixed versions of go.mod, and all must be silent.
// TestTable runs them with the leaky versions of leaky.mod too, and each must fail and name its
// cause:
//
//	LEAKSAFE_LONG=1 go test -v -count=1 -run TestTable .
package realleaks
