package retain

import (
	"debug/dwarf"
	"strings"
)

// library knows the insides of a few types of the runtime and the standard library: those that hide
// behind unsafe pointers what they refer to. It tells whether the field f of s is one of them.
func (h *Heap) library(s *dwarf.StructType, f *dwarf.StructField, at uint64, l *link) bool {
	switch name := s.StructName; {
	case strings.HasPrefix(name, "sync/atomic.Pointer[") && f.Name == "v":
		l.expr = ".Load()"
		if t, ok := atomicType(s); ok {
			l.typ, l.opaque = t, false
		}
	case strings.HasPrefix(name, "hchan<") && f.Name == "buf":
		l.expr, l.many, l.opaque = "", true, true
		if t, ok := chanElem(s); ok {
			l.typ = t
		}
	case strings.HasPrefix(name, "internal/sync.entry[") && f.Name == "value":
		l.expr = ".Load(" + h.mapKey(s, at) + ")"
	case name == "sync/atomic.Value" && f.Name == "v":
		l.expr = ".Load()"
	case name == "sync.Map", strings.HasPrefix(name, "internal/sync."):
		l.expr = ""
	default:
		return false
	}
	return true
}

// atomicType is the pointer type of an atomic.Pointer, which it states in a field of no size.
func atomicType(s *dwarf.StructType) (dwarf.Type, bool) {
	for _, f := range s.Field {
		if a, ok := bare(f.Type).(*dwarf.ArrayType); ok && f.Name == "_" {
			return a.Type, true
		}
	}
	return nil, false
}

// chanElem is the type of a pointer to an element, from hchan.recvq.first.elem.
func chanElem(s *dwarf.StructType) (dwarf.Type, bool) {
	var t dwarf.Type = s
	for _, name := range []string{"recvq", "first", "elem"} {
		if p, ok := bare(t).(*dwarf.PtrType); ok {
			t = p.Type
		}
		st, ok := bare(t).(*dwarf.StructType)
		if !ok {
			return nil, false
		}
		if t = fieldType(st, name); t == nil {
			return nil, false
		}
	}
	return t, true
}

func fieldType(s *dwarf.StructType, name string) dwarf.Type {
	for _, f := range s.Field {
		if f.Name == name {
			return f.Type
		}
	}
	return nil
}

// trieNode is what a pointer to a node of a sync.Map's trie really leads to: an entry or an inner
// node.
func (h *Heap) trieNode(t dwarf.Type, at uint64) (dwarf.Type, bool) {
	s, ok := bare(t).(*dwarf.StructType)
	if !ok || h.names.Types == nil || !strings.HasPrefix(s.StructName, "internal/sync.node[") {
		return nil, false
	}
	b, err := h.memory(h.wordAt(at), 1)
	if err != nil || len(b) < 1 {
		return nil, false
	}
	name := "indirect["
	if b[0] != 0 {
		name = "entry["
	}
	if t, ok := h.names.Types.Struct(strings.Replace(s.StructName, "node[", name, 1)); ok {
		return t, true
	}
	// Go 1.27 may have only the shape, which has the same layout.
	return h.names.Types.Struct("internal/sync." + name + "go.shape.interface {},go.shape.interface {}]")
}

// mapKey prints the key of the sync.Map entry at an address.
func (h *Heap) mapKey(entry *dwarf.StructType, value uint64) string {
	for _, f := range entry.Field {
		if f.Name != "key" {
			continue
		}
		return h.value(f.Type, value-uint64(offsetOf(entry, "value"))+uint64(f.ByteOffset))
	}
	return "…"
}

func offsetOf(s *dwarf.StructType, name string) int64 {
	for _, f := range s.Field {
		if f.Name == name {
			return f.ByteOffset
		}
	}
	return 0
}

// insideOf tells whether an object is the inside of something of the standard library: its type is
// not exported, and what refers to it belongs to the same package.
func (h *Heap) insideOf(before, x hop) bool {
	pkg, name := typePackage(x.view.typ)
	if x.group != "" || x.Kind != "object" || name == "" || name[0] < 'a' || name[0] > 'z' || !standardPath(pkg) {
		return false
	}
	above, _ := typePackage(before.view.typ)
	return above == pkg
}

// typePackage splits the name of a struct type.
func typePackage(t dwarf.Type) (pkg, name string) {
	s, ok := bare(t).(*dwarf.StructType)
	if !ok {
		return "", ""
	}
	pkg = packageOf(s.StructName)
	return pkg, strings.TrimPrefix(s.StructName[len(pkg):], ".")
}

// muxPattern is the pattern of a node in an http.ServeMux's tree, or "".
func (h *Heap) muxPattern(x hop) string {
	s, ok := bare(x.view.typ).(*dwarf.StructType)
	if !ok || s.StructName != "net/http.routingNode" || x.view.many {
		return ""
	}
	p, ok := bare(fieldType(s, "pattern")).(*dwarf.PtrType)
	if !ok {
		return ""
	}
	pattern, ok := bare(p.Type).(*dwarf.StructType)
	if !ok {
		return ""
	}
	at := h.wordAt(h.Addr(x.object) + x.view.delta + uint64(offsetOf(s, "pattern")))
	if at == 0 || h.redacted || fieldType(pattern, "str") == nil {
		return ""
	}
	return h.value(fieldType(pattern, "str"), at+uint64(offsetOf(pattern, "str")))
}
