package batch

// Stats are counts since the constructor was called, taken at one instant. At any instant
//
//	Admitted == Delivered + Failed + Expired + Withdrawn + Returned + Pending
type Stats struct {
	Admitted  int64 // items taken into the budget
	Delivered int64 // items for which the handler returned without an error
	Failed    int64 // items that were not delivered and are not tried again
	Expired   int64 // items older than MaxAge that were never handed over
	Withdrawn int64 // items taken back by a cancelled Do, never handed over
	Returned  int64 // items given back by Close
	Pending   int64 // items without an outcome: waiting, or in the handler's hands

	PendingBytes int64 // bytes of the pending items, as SizeOf counts
	Waiting      int64 // callers blocked in Add, AddAll, Do, DoAll or Submit for room
	Rejected     int64 // times that ErrFull was returned
	Keys         int64 // keys that have pending items, or are on hold; 0 without keys
	Held         int64 // keys on hold
	Calls        int64 // calls of the handler, begun
	Retries      int64 // calls that were another attempt, or a part of a batch
	InFlight     int64 // calls that have not returned yet
	Stuck        int64 // calls that have run longer than 1.1 times their Timeout
}

func (e *engine[K, T, R]) snapshot() Stats {
	e.lock()
	defer e.unlock()
	s := e.stats
	s.Waiting = int64(e.budget.waiting)
	s.Keys = int64(len(e.lanes.byKey))
	s.Held = int64(e.lanes.held)
	now := e.now()
	for n := e.flight.list.head; n != nil; n = n.next {
		if n.of.calling && n.of.overdue <= now {
			s.Stuck++
		}
	}
	return s
}
