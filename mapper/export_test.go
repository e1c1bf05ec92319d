package mapper

import (
	"context"
	"reflect"
)

// A Plan gives tests both executors, and pairs of types known at run time.
type Plan struct{ plan *plan }

func Compile(src, dst reflect.Type, opts ...Option) (Plan, error) {
	types := pair{src, dst}
	p, err := compile(types, newConfig(types.pointees(), opts), false)
	return Plan{p}, err
}

// Kernels and Reflect map *src to *dst.
func (p Plan) Kernels(dst, src reflect.Value) error {
	return p.plan.run(context.Background(), dst.UnsafePointer(), src.UnsafePointer())
}

func (p Plan) Reflect(dst, src reflect.Value) error {
	return p.plan.reflect(context.Background(), dst, src)
}

func PlanOf[S, D any](m *Mapper[S, D]) Plan { return Plan{m.plan} }

const (
	OnlyReflect = onlyReflect
	MaxPlans    = maxPlans
	MaxDynamic  = maxDynamic
	MaxBuilds   = maxBuilds
	MaxSites    = maxSites
)

// Sites returns how many sites the misuse warning counts.
func Sites() int {
	builds.mu.Lock()
	defer builds.mu.Unlock()
	return len(builds.sites)
}

// DynamicPlans is how many plans m holds for types met in interfaces.
func DynamicPlans[S, D any](m *Mapper[S, D]) int {
	c := m.plan.cfg.dynamic
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}

// CountSite counts a build at a made-up line, and reports whether to warn.
func CountSite(pc uintptr) bool { return builds.add(site{pc: pc}, &plan{}) }

// ResetSites forgets all lines.
func ResetSites() {
	builds.mu.Lock()
	defer builds.mu.Unlock()
	clear(builds.sites)
}
