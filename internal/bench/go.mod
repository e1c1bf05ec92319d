module github.com/leaksafe/leaksafe/internal/bench

go 1.26.0

require github.com/leaksafe/leaksafe v0.0.0

// The measured code is this checkout.
replace github.com/leaksafe/leaksafe => ../..
