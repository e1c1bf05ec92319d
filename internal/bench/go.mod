module github.com/leaksafe/leaksafe/internal/bench

go 1.26.0

require (
	github.com/go-viper/mapstructure/v2 v2.5.0
	github.com/jinzhu/copier v0.4.0
	github.com/leaksafe/leaksafe v0.0.0
	github.com/libp2p/go-buffer-pool v0.1.0
	github.com/oxtoacart/bpool v0.0.0-20190530202638-03653db5a59c
	github.com/prometheus/prometheus v0.315.0
	github.com/valyala/bytebufferpool v1.0.0
	golang.org/x/sync v0.24.0
	google.golang.org/grpc v1.83.2
	vitess.io/vitess v0.22.0
)

require golang.org/x/sys v0.47.0 // indirect

// The measured code is this checkout.
replace github.com/leaksafe/leaksafe => ../..
