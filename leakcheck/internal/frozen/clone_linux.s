// Package frozen declares functions without a body, which the compiler allows in packages with assembly only.
