package batch

// A list is a first-in, first-out queue from whose middle a node can be removed in constant time.
// The nodes are part of the listed values, so a push allocates nothing.
type list[E any] struct {
	head, tail *node[E]
	n          int
}

type node[E any] struct {
	prev, next *node[E]
	on         *list[E]
	of         E
}

func (l *list[E]) push(n *node[E], of E) {
	n.on, n.of, n.prev = l, of, l.tail
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
	l.n++
}

// remove takes n off l. It does nothing if n is on no list.
func (l *list[E]) remove(n *node[E]) {
	if n.on != l {
		return
	}
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	*n = node[E]{}
	l.n--
}
