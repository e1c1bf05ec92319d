package climb_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/leakcheck/internal/climb"
)

// series has a window of 80 s for each value, and the same work in each.
func series(low ...float64) climb.Series {
	s := climb.Series{Low: low}
	for i := range low {
		s.End = append(s.End, 80*float64(i+1))
		s.Work = append(s.Work, 1000)
	}
	return s
}

// curve has n windows of f.
func curve(n int, f func(i float64) float64) climb.Series {
	low := make([]float64, n)
	for i := range low {
		low[i] = f(float64(i))
	}
	return series(low...)
}

// working gives s another amount of work in each window.
func working(s climb.Series, f func(i float64) float64) climb.Series {
	for i := range s.Work {
		s.Work[i] = f(float64(i))
	}
	return s
}

func line(i float64) float64 { return 1000 + 100*i }

func cache(to, half float64) func(float64) float64 {
	return func(i float64) float64 { return 1000 + to*(1-math.Exp(-i/half)) }
}

func TestJudge(t *testing.T) {
	broken := func(at int, by float64) climb.Series {
		s := curve(10, line)
		s.Low[at] += by
		return s
	}
	// bent rises by 100 a window, and from the 20th on by less.
	bent := func(less float64) func(float64) float64 {
		return func(i float64) float64 { return 1000 + 100*math.Min(i, 19) + less*math.Max(i-19, 0) }
	}
	for _, c := range []struct {
		name    string
		s       climb.Series
		floor   float64
		ceiling float64
		want    climb.Verdict
	}{
		{"a line", curve(10, line), 50, 0, climb.Climbs},
		{"as few windows as can be judged", curve(6, line), 50, 0, climb.Climbs},
		{"too few", curve(5, line), 50, 0, climb.Unknown},
		{"none", climb.Series{}, 50, 0, climb.Unknown},
		{"it gets faster", curve(10, func(i float64) float64 { return 1000 + 10*i*i }), 50, 0, climb.Climbs},

		{"the same all the time", curve(10, func(float64) float64 { return 1000 }), 50, 0, climb.Flat},
		{"it falls", curve(10, func(i float64) float64 { return 2000 - 100*i }), 50, 0, climb.Flat},
		{"as much as the floor", curve(10, line), 900, 0, climb.Flat},
		{"more than the floor", curve(10, line), 899, 0, climb.Climbs},
		{"less than a fiftieth of what there was", curve(10, func(i float64) float64 { return 100_000 + 200*i }), 50, 0, climb.Flat},
		{"more than a fiftieth", curve(10, func(i float64) float64 { return 100_000 + 230*i }), 50, 0, climb.Climbs},
		{"an earlier window was as high", curve(20, func(i float64) float64 {
			if i == 3 {
				return line(19)
			}
			return line(i)
		}), 50, 0, climb.Flat},
		{"an earlier window was nearly as high", curve(20, func(i float64) float64 {
			if i == 3 {
				return line(19) - 1
			}
			return line(i)
		}), 50, 0, climb.Climbs},

		{"one window is lower", broken(5, -150), 50, 0, climb.Uneven},
		{"one window is as high as the one before", broken(5, -100), 50, 0, climb.Uneven},
		{"one window grows less", broken(5, -90), 50, 0, climb.Climbs},
		{"a step among small steps", curve(10, func(i float64) float64 { return 1000 + 10*i + 1000*math.Floor(i/5) }), 50, 0, climb.Uneven},
		{"a sawtooth", curve(10, func(i float64) float64 { return 1000 + 100*math.Mod(i, 3) + 50*i }), 50, 0, climb.Uneven},

		{"work rises in proportion", working(curve(10, line), func(i float64) float64 { return 1000 + 100*i }), 50, 0, climb.Explained},
		{"work rises a little, so that each unit of it leaves less behind", working(curve(10, line), func(i float64) float64 { return 1000 + 20*i }), 50, 0, climb.LevelsOff},
		{"work rises, and memory with the square of it", working(curve(10, func(i float64) float64 { return 1000 + 10*i*i }), func(i float64) float64 { return 1000 + 10*i }), 50, 0, climb.Climbs},
		{"work falls", working(curve(10, line), func(i float64) float64 { return 1000 - 50*i }), 50, 0, climb.Climbs},

		{"a cache fills", curve(10, cache(2000, 5)), 50, 0, climb.LevelsOff},
		{"a cache that is full at the end", curve(10, func(i float64) float64 { return 1000 + 100*i - 5.6*i*i }), 50, 5000, climb.LevelsOff},
		{"the same by work, while work gets slower", working(curve(10, cache(2000, 5)), func(i float64) float64 { return 1000 * math.Exp(-i/5) }), 50, 0, climb.Climbs},
		{"a cache that ends above the limit", curve(10, cache(2000, 5)), 50, 2700, climb.Climbs},
		{"a cache that ends below the limit", curve(10, cache(2000, 5)), 50, 2800, climb.LevelsOff},
		{"slower than some windows ago", curve(40, bent(50)), 50, 0, climb.LevelsOff},
		{"slower, but without an end below the limit", curve(40, bent(50)), 50, 3000, climb.Climbs},
		{"a little slower than some windows ago", curve(40, bent(90)), 50, 0, climb.Climbs},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, verdict := c.s.Judge(c.floor, c.ceiling)
			assert.Equal(t, c.want, verdict, "%+v", got)
		})
	}
}

// The last ten windows of this cache look straight, because of the noise. The windows before, in
// which it rose already, show the bend.
func TestJudgeFromTheFoot(t *testing.T) {
	s := curve(16, cache(2000, 9))
	straight := s.Low[6]
	for i := 6; i < 16; i++ {
		s.Low[i] = straight + 70*float64(i-6)
	}
	last := climb.Series{Low: s.Low[6:], End: s.End[6:], Work: s.Work[6:]}
	_, verdict := last.Judge(50, 0)
	assert.Equal(t, climb.Climbs, verdict, "alone")
	_, verdict = s.Judge(50, 0)
	assert.Equal(t, climb.LevelsOff, verdict, "with the windows before")

	s.Low[5] = s.Low[6] + 1 // it did not rise just before
	s.Low[4] = s.Low[6] + 2
	_, verdict = s.Judge(50, 0)
	assert.Equal(t, climb.Climbs, verdict, "after a fall")
}

func TestClimbsNumbers(t *testing.T) {
	c, verdict := curve(30, line).Judge(50, 0)
	assert.Equal(t, climb.Climbs, verdict)
	assert.Equal(t, climb.Climb{From: line(20), To: line(29), PerSecond: 100. / 80}, c)

	s := curve(10, line)
	s.Low[9] += 250 // one of ten does not move the pace
	c, _ = s.Judge(50, 0)
	assert.InDelta(t, 100./80, c.PerSecond, .05)

	c, verdict = curve(10, cache(2000, 5)).Judge(50, 0)
	assert.Equal(t, climb.LevelsOff, verdict)
	assert.InDelta(t, 3000, c.End, 300)

	// However long an even climb lasts, it is one: also where no limit is known.
	for n := climb.Fewest; n < 300; n++ {
		for _, step := range []float64{1, 3, 7, 100, 1e6 / 3} {
			_, verdict := curve(n, func(i float64) float64 { return 17 + step*i }).Judge(0, 0)
			assert.Equal(t, climb.Climbs, verdict, "%d windows of %v", n, step)
		}
	}
}

func TestRising(t *testing.T) {
	s := series(5, 1, 2, 3, 4)
	assert.True(t, s.Rising(4))
	assert.False(t, s.Rising(5))
	assert.False(t, s.Rising(6), "there are not so many")
	assert.False(t, series(1, 2, 2, 3).Rising(3))
	assert.True(t, series(1).Rising(1))
}

// Ten windows of a cache that look straight because of the noise are doubtful; a line is not, nor
// is a cache that bends clearly.
func TestDoubtful(t *testing.T) {
	noise := []float64{12, 3, -9, 14, -11, 2, 8, -15, 6, 1}
	with := func(f func(float64) float64, share float64) climb.Series {
		s := curve(10, f)
		for i := range s.Low {
			s.Low[i] += share * noise[i]
		}
		return s
	}
	assert.False(t, with(line, 0).Doubtful())
	assert.False(t, with(line, .2).Doubtful())
	assert.True(t, with(line, 3).Doubtful())
	assert.True(t, with(cache(2000, 20), 2).Doubtful())
	long := with(line, 0)
	long.Low = append([]float64{1, 2, 900}, long.Low...)
	long.End = append([]float64{-3, -2, -1}, long.End...)
	long.Work = append([]float64{1000, 1000, 1000}, long.Work...)
	assert.False(t, long.Doubtful(), "the last ten count")
}
