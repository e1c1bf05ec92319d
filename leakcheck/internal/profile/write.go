package profile

import (
	"compress/gzip"
	"io"
)

// Field numbers of profile.proto.
const (
	profileSampleType    = 1
	profileSample        = 2
	profileMapping       = 3
	profileLocation      = 4
	profileFunction      = 5
	profileStrings       = 6
	profileTime          = 9
	profileComment       = 13
	profileDefaultSample = 14

	valueType = 1
	valueUnit = 2

	sampleLocation = 1
	sampleValue    = 2
	sampleLabel    = 3

	labelKey = 1
	labelStr = 2

	mappingID           = 1
	mappingFile         = 5
	mappingHasFunctions = 7
	mappingHasFiles     = 8
	mappingHasLines     = 9

	locationID      = 1
	locationMapping = 2
	locationLine    = 4

	lineFunction = 1
	lineNumber   = 2

	functionID         = 1
	functionName       = 2
	functionSystemName = 3
	functionFile       = 4
)

// Write writes the profile, compressed.
func (p *Profile) Write(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := z.Write(p.encode()); err != nil {
		return err
	}
	return z.Close()
}

// texts is the profile's table of strings, in which 0 is "".
type texts struct {
	index map[string]uint64
	list  []string
}

func (t *texts) at(s string) uint64 {
	if i, ok := t.index[s]; ok {
		return i
	}
	i := uint64(len(t.list))
	t.index[s], t.list = i, append(t.list, s)
	return i
}

func (p *Profile) encode() []byte {
	t := &texts{index: map[string]uint64{"": 0}, list: []string{""}}
	var out message
	for _, v := range p.Types {
		var m message
		m.uint(valueType, t.at(v.Type))
		m.uint(valueUnit, t.at(v.Unit))
		out.bytes(profileSampleType, m)
	}
	for i := range p.Samples {
		out.bytes(profileSample, p.Samples[i].encode(t))
	}
	out.bytes(profileMapping, mapping(t))
	p.encodeFrames(&out, t)
	if p.Time != 0 {
		out.uint(profileTime, uint64(p.Time))
	}
	if p.Comment != "" {
		out.uint(profileComment, t.at(p.Comment))
	}
	out.uint(profileDefaultSample, t.at(p.Default))
	for _, s := range t.list {
		out.bytes(profileStrings, []byte(s))
	}
	return out
}

func (s *Sample) encode(t *texts) message {
	var m, packed message
	for _, f := range s.Stack {
		packed.varint(uint64(f) + 1)
	}
	m.bytes(sampleLocation, packed)
	packed = packed[:0]
	for _, v := range s.Values {
		packed.varint(uint64(v))
	}
	m.bytes(sampleValue, packed)
	for _, l := range s.Labels {
		var label message
		label.uint(labelKey, t.at(l.Key))
		label.uint(labelStr, t.at(l.Value))
		m.bytes(sampleLabel, label)
	}
	return m
}

// mapping says that nothing is left to symbolize: without it pprof looks for the executable.
func mapping(t *texts) message {
	var m message
	m.uint(mappingID, 1)
	m.uint(mappingFile, t.at("heap"))
	for _, has := range []int{mappingHasFunctions, mappingHasFiles, mappingHasLines} {
		m.uint(has, 1)
	}
	return m
}

// encodeFrames writes a location and a function for each frame. The system name differs from the
// name, or pprof would take a name with brackets for C++ and cut it.
func (p *Profile) encodeFrames(out *message, t *texts) {
	for i, f := range p.Frames {
		id := uint64(i) + 1
		var fn, line, loc message
		fn.uint(functionID, id)
		fn.uint(functionName, t.at(f.Func))
		fn.uint(functionSystemName, t.at(f.Func+" "))
		fn.uint(functionFile, t.at(f.File))
		out.bytes(profileFunction, fn)
		line.uint(lineFunction, id)
		line.uint(lineNumber, uint64(f.Line))
		loc.uint(locationID, id)
		loc.uint(locationMapping, 1)
		loc.bytes(locationLine, line)
		out.bytes(profileLocation, loc)
	}
}

// A message is a protocol buffer message that is being written.
type message []byte

func (m *message) varint(v uint64) {
	for v >= 0x80 {
		*m = append(*m, byte(v)|0x80)
		v >>= 7
	}
	*m = append(*m, byte(v))
}

func (m *message) uint(field int, v uint64) {
	m.varint(uint64(field) << 3)
	m.varint(v)
}

func (m *message) bytes(field int, b []byte) {
	m.varint(uint64(field)<<3 | 2)
	m.varint(uint64(len(b)))
	*m = append(*m, b...)
}
