module github.com/leaksafe/leaksafe/examples/mapper/recipes

go 1.26.0

require (
	github.com/google/uuid v1.6.0
	github.com/guregu/null/v5 v5.0.0
	github.com/jackc/pgx/v5 v5.13.0
	github.com/leaksafe/leaksafe v0.1.0
	github.com/shopspring/decimal v1.6.0
	github.com/stretchr/testify v1.12.1
	google.golang.org/protobuf v1.36.12
	gorm.io/gorm v1.31.2
)

require (
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/jinzhu/now v1.1.5 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/text v0.41.0 // indirect
)

// Delete this line when you copy the example.
replace github.com/leaksafe/leaksafe => ../../..
