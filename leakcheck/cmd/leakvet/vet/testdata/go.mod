module seeds

go 1.26.0

require github.com/leaksafe/leaksafe v0.1.0

require go.uber.org/goleak v1.3.0 // indirect

replace github.com/leaksafe/leaksafe => ../../../../..
