package silence

import "github.com/leaksafe/leaksafe/pool"

var buffers = pool.NewBytes(pool.Options{})

func withReason() int {
	b := buffers.Get(0) //nolint:leakvet // the caller's caller releases it
	return b.Len()
}

func above() int {
	//nolint:gosec,leakvet // a test of what is lost
	b := buffers.Get(0)
	return b.Len()
}

func withoutReason() int {
	b := buffers.Get(0) /* want `lease is not ended` `say why: //nolint:leakvet // the reason` */ //nolint:leakvet
	return b.Len()
}

func another() int {
	b := buffers.Get(0) //nolint:gosec // another analyzer // want `lease is not ended`
	return b.Len()
}
