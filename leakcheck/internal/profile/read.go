package profile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Limit is the size, in bytes and uncompressed, above which Read refuses a profile.
const Limit = 256 << 20

// errShort says that a message ends before it should.
var errShort = errors.New("profile: damaged: it ends in the middle of a field")

// Read reads a profile, compressed or not. It reads all of r, up to [Limit].
func Read(r io.Reader) (*Profile, error) {
	b, err := io.ReadAll(io.LimitReader(r, Limit+1))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("profile: damaged: %w", err)
		}
		if b, err = io.ReadAll(io.LimitReader(z, Limit+1)); err != nil {
			return nil, fmt.Errorf("profile: damaged: %w", err)
		}
	}
	if len(b) > Limit {
		return nil, fmt.Errorf("profile: larger than %d MiB", Limit>>20)
	}
	return decode(b)
}

// A decoder holds what a profile's messages refer to by number, until all is read.
type decoder struct {
	texts     [][]byte
	functions map[uint64]function
	locations map[uint64][]line
	types     [][2]uint64
	samples   []sample
	time      uint64
	standard  uint64
	comment   uint64
	frames    map[Frame]int32
}

type function struct{ name, file uint64 }

type line struct {
	function uint64
	line     int64
}

type sample struct {
	locations []uint64
	values    []int64
	labels    [][2]uint64
}

func decode(b []byte) (*Profile, error) {
	d := &decoder{functions: map[uint64]function{}, locations: map[uint64][]line{}, frames: map[Frame]int32{}}
	err := eachField(b, d.profile)
	if err != nil {
		return nil, err
	}
	if len(d.types) == 0 || len(d.texts) == 0 {
		return nil, errors.New("profile: not a pprof profile: it has no sample types")
	}
	return d.resolve()
}

func (d *decoder) profile(field int, v uint64, b []byte) error {
	switch field {
	case profileSampleType:
		pair, err := two(b, valueType, valueUnit)
		d.types = append(d.types, pair)
		return err
	case profileSample:
		return d.sample(b)
	case profileLocation:
		return d.location(b)
	case profileFunction:
		return d.function(b)
	case profileStrings:
		d.texts = append(d.texts, b)
	case profileTime:
		d.time = v
	case profileComment:
		d.comment = v
	case profileDefaultSample:
		d.standard = v
	}
	return nil
}

// two reads a message of two numbers.
func two(b []byte, first, second int) (pair [2]uint64, err error) {
	err = eachField(b, func(field int, v uint64, _ []byte) error {
		switch field {
		case first:
			pair[0] = v
		case second:
			pair[1] = v
		}
		return nil
	})
	return pair, err
}

func (d *decoder) sample(b []byte) error {
	var s sample
	err := eachField(b, func(field int, v uint64, b []byte) (err error) {
		switch field {
		case sampleLocation:
			s.locations, err = numbers(s.locations, v, b)
		case sampleValue:
			var values []uint64
			values, err = numbers(nil, v, b)
			for _, v := range values {
				s.values = append(s.values, int64(v))
			}
		case sampleLabel:
			var pair [2]uint64
			pair, err = two(b, labelKey, labelStr)
			s.labels = append(s.labels, pair)
		}
		return err
	})
	d.samples = append(d.samples, s)
	return err
}

// numbers appends one number, or all of a packed field.
func numbers(out []uint64, v uint64, packed []byte) ([]uint64, error) {
	if packed == nil {
		return append(out, v), nil
	}
	for len(packed) > 0 {
		n, rest, err := varint(packed)
		if err != nil {
			return nil, err
		}
		out, packed = append(out, n), rest
	}
	return out, nil
}

func (d *decoder) location(b []byte) error {
	var id uint64
	var lines []line
	err := eachField(b, func(field int, v uint64, b []byte) error {
		switch field {
		case locationID:
			id = v
		case locationLine:
			pair, err := two(b, lineFunction, lineNumber)
			lines = append(lines, line{pair[0], int64(pair[1])})
			return err
		}
		return nil
	})
	d.locations[id] = lines
	return err
}

func (d *decoder) function(b []byte) error {
	var id uint64
	var f function
	err := eachField(b, func(field int, v uint64, _ []byte) error {
		switch field {
		case functionID:
			id = v
		case functionName:
			f.name = v
		case functionFile:
			f.file = v
		}
		return nil
	})
	d.functions[id] = f
	return err
}

// maxFrames bounds what a hostile profile can make of a few bytes: each sample may repeat one long
// location.
const maxFrames = 1 << 24

func (d *decoder) resolve() (*Profile, error) {
	p := &Profile{Default: d.text(d.standard), Comment: d.text(d.comment), Time: int64(d.time)}
	for _, t := range d.types {
		p.Types = append(p.Types, ValueType{d.text(t[0]), d.text(t[1])})
	}
	total := 0
	for _, s := range d.samples {
		if len(s.values) != len(d.types) {
			return nil, fmt.Errorf("profile: damaged: a sample has %d values for %d types", len(s.values), len(d.types))
		}
		out := Sample{Values: s.values}
		for _, id := range s.locations {
			for _, l := range d.locations[id] {
				out.Stack = append(out.Stack, d.frame(p, l))
			}
			if total += len(d.locations[id]); total > maxFrames {
				return nil, fmt.Errorf("profile: more than %d frames", maxFrames)
			}
		}
		for _, l := range s.labels {
			out.Labels = append(out.Labels, Label{d.text(l[0]), d.text(l[1])})
		}
		p.Samples = append(p.Samples, out)
	}
	return p, nil
}

func (d *decoder) frame(p *Profile, l line) int32 {
	fn := d.functions[l.function]
	f := Frame{d.text(fn.name), d.text(fn.file), l.line}
	i, ok := d.frames[f]
	if !ok {
		i = int32(len(p.Frames))
		d.frames[f], p.Frames = i, append(p.Frames, f)
	}
	return i
}

func (d *decoder) text(i uint64) string {
	if i >= uint64(len(d.texts)) {
		return ""
	}
	return string(d.texts[i])
}

// eachField calls f with the fields of a message: v for a number, b for bytes.
func eachField(b []byte, f func(field int, v uint64, b []byte) error) error {
	for len(b) > 0 {
		tag, rest, err := varint(b)
		if err != nil {
			return err
		}
		var v uint64
		var content []byte
		switch tag & 7 {
		case 0:
			v, rest, err = varint(rest)
		case 1:
			rest, err = skip(rest, 8)
		case 2:
			v, rest, err = varint(rest)
			if err == nil && v > uint64(len(rest)) {
				err = errShort
			}
			if err == nil {
				content, rest = rest[:v:v], rest[v:]
			}
		case 5:
			rest, err = skip(rest, 4)
		default:
			err = errors.New("profile: not a pprof profile")
		}
		if err != nil {
			return err
		}
		if err := f(int(tag>>3), v, content); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func skip(b []byte, n int) ([]byte, error) {
	if len(b) < n {
		return nil, errShort
	}
	return b[n:], nil
}

func varint(b []byte) (uint64, []byte, error) {
	var v uint64
	for i, c := range b {
		if i == 10 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, b[i+1:], nil
		}
	}
	return 0, nil, errShort
}
