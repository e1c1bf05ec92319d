package batch

// A list is first in, first out, and gives up a node from its middle in constant time. The nodes are
// part of what they list, so a push allocates nothing.
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

// remove takes n off l; a node that is on no list stays off.
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
