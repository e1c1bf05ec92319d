module github.com/leaksafe/leaksafe/internal/bench

go 1.26.0

require (
	github.com/destel/rill v0.7.0
	github.com/go-viper/mapstructure/v2 v2.5.0
	github.com/graph-gophers/dataloader/v7 v7.1.0
	github.com/jinzhu/copier v0.4.0
	github.com/leaksafe/leaksafe v0.0.0
	github.com/libp2p/go-buffer-pool v0.1.0
	github.com/oxtoacart/bpool v0.0.0-20190530202638-03653db5a59c
	github.com/prometheus/prometheus v0.307.3
	github.com/valyala/bytebufferpool v1.0.0
	github.com/vikstrous/dataloadgen v0.0.10
	go.opentelemetry.io/otel/sdk v1.47.0
	go.opentelemetry.io/otel/trace v1.47.0
	golang.org/x/sync v0.24.0
	google.golang.org/api v0.250.0
	google.golang.org/grpc v1.83.2
	vitess.io/vitess v0.22.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.opentelemetry.io/otel/metric v1.47.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

// The measured code is this checkout.
replace github.com/leaksafe/leaksafe => ../..
