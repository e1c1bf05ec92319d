//go:build !leaksafe_safe

package mapper

// onlyReflect is true when the build tag leaksafe_safe is set: the kernels, which use unsafe, are
// then never run.
const onlyReflect = false
