package batch

// A report is on its way to the Observer. Flush waits for those before it, so
// that who has flushed has been told.
type report[T any] struct {
	seq  uint64
	said []outcome[T]
	done chan struct{} // made by who waits
	node node[*report[T]]
}

// An outcome is what the Observer is told in one call.
type outcome[T any] struct {
	items []T
	err   error
}

// addTo adds an item to said: to what was delivered, to what shares the error of
// the call, or on its own.
func addTo[T any](said []outcome[T], item T, err error, shared bool) []outcome[T] {
	for i := range said {
		if err == nil && said[i].err == nil || err != nil && said[i].err != nil && shared {
			said[i].items = append(said[i].items, item)
			return said
		}
	}
	return append(said, outcome[T]{[]T{item}, err})
}

// report announces what the Observer is to be told; nil is nothing.
func (e *engine[K, T, R]) report(said []outcome[T]) *report[T] {
	if len(said) == 0 {
		return nil
	}
	e.reported++
	r := &report[T]{seq: e.reported, said: said}
	e.reports.push(&r.node, r)
	return r
}

// reportExpired announces items past MaxAge.
func (e *engine[K, T, R]) reportExpired(items []T) *report[T] {
	if len(items) == 0 {
		return nil
	}
	return e.report([]outcome[T]{{items, errExpired}})
}

// tell makes the announced report. It takes mu itself, and not during the calls.
func (e *engine[K, T, R]) tell(r *report[T]) {
	if r == nil {
		return
	}
	defer e.told(r)
	for _, o := range r.said {
		e.opt.Observer(o.items, o.err)
	}
}

// told lets go who waits for r. It takes mu itself.
func (e *engine[K, T, R]) told(r *report[T]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reports.remove(&r.node)
	if r.done != nil {
		close(r.done)
	}
	e.freed()
}
