package batch

// Stats are counts since New, taken at one instant. At any instant
//
//	Admitted == Delivered + Failed + Expired + Withdrawn + Returned + Pending
type Stats struct {
	Admitted  int64 // items taken into the budget
	Delivered int64 // the handler returned without an error for them
	Failed    int64 // it did not, and they are not tried again
	Expired   int64 // older than MaxAge, never handed over
	Withdrawn int64 // taken back by a cancelled Do, never handed over
	Returned  int64 // given back by Close
	Pending   int64 // without an outcome: waiting, or in the handler's hands

	PendingBytes int64 // of the pending items, as SizeOf counts
	Waiting      int64 // callers blocked in Add, AddAll, Do or Submit for room
	Rejected     int64 // times that ErrFull was returned
	Keys         int64 // keys that have pending items; 0 without keys
	Calls        int64 // of the handler, begun
	Retries      int64 // those of them that were another attempt
	InFlight     int64 // those of them that have not returned
	Stuck        int64 // those of them past their Timeout by a tenth
}

func (e *engine[K, T, R]) snapshot() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting = int64(e.waiters.n)
	s.Keys = int64(len(e.lanes))
	now := e.now()
	for n := e.inflight.head; n != nil; n = n.next {
		if n.of.calling && n.of.overdue <= now {
			s.Stuck++
		}
	}
	return s
}
