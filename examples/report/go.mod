module github.com/leaksafe/leaksafe/examples/report

go 1.26.0

require (
	github.com/getsentry/sentry-go v0.50.0
	github.com/leaksafe/leaksafe v0.1.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sync v0.24.0
)

require (
	go.uber.org/goleak v1.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)

// Delete this line when you copy the example.
replace github.com/leaksafe/leaksafe => ../..
