module github.com/leaksafe/leaksafe/internal/bench

go 1.26.0

require (
	github.com/go-viper/mapstructure/v2 v2.5.0
	github.com/jinzhu/copier v0.4.0
	github.com/leaksafe/leaksafe v0.0.0
)

// The measured code is this checkout.
replace github.com/leaksafe/leaksafe => ../..
