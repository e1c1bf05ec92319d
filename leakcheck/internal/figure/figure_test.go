package figure

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFormats(t *testing.T) {
	assert.Equal(t, "1.00 object", Count(1, "object"))
	assert.Equal(t, "0.0031 objects", Count(0.003125, "object"))
	assert.Equal(t, "1 goroutine", Plural(1, "goroutine"))
	assert.Equal(t, "0 goroutines", Plural(0, "goroutine"))
	assert.Equal(t, "6,000", Number(6000))
	assert.Equal(t, "1,234,567", Number(1234567))
	assert.Equal(t, "-100", Number(-100))
	assert.Equal(t, "+6,000", SignedNumber(6000))
	assert.Equal(t, "-6,000", SignedNumber(-6000))
	assert.Equal(t, "+0", SignedNumber(0))
	assert.Equal(t, "1023 B", Bytes(1023))
	assert.Equal(t, "1 KiB", Bytes(1024))
	assert.Equal(t, "94 KiB", Bytes(94<<10))
	assert.Equal(t, "2 GiB", Bytes(2<<30))
	assert.Equal(t, "+24 B", SignedBytes(24))
	assert.Equal(t, "-1.5 MiB", SignedBytes(-3<<19))
	assert.Equal(t, "0", SignedBytes(0))
	assert.Equal(t, "0.25 B", BytesEach(0.25))
	assert.Equal(t, "24 B", BytesEach(24.2))
	assert.Equal(t, "1.5 KiB", BytesEach(1536))
}
