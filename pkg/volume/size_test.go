package volume

import (
	"errors"
	"math"
	"testing"
)

func TestSizes(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		r    Range
		want int64
		err  error
	}{
		{"nothing asked", Range{}, DefaultBytes, nil},
		{"required", Range{Required: 5 * mib}, 5 * mib, nil},
		{"not rounded", Range{Required: 5*mib + 1}, 5*mib + 1, nil},
		{"the least", Range{Required: 1}, MinBytes, nil},
		{"limit above the default", Range{Limit: 5 << 30}, DefaultBytes, nil},
		{"limit below the default", Range{Limit: 5 * mib}, 5 * mib, nil},
		{"both", Range{Required: 5 * mib, Limit: 6 * mib}, 5 * mib, nil},
		{"equal", Range{Required: 5 * mib, Limit: 5 * mib}, 5 * mib, nil},
		{"the largest number", Range{Required: math.MaxInt64}, math.MaxInt64, nil},
		{"limit below the least", Range{Limit: mib - 1}, 0, ErrOutOfRange},
		{"required and limit below the least", Range{Required: 1, Limit: 2}, 0, ErrOutOfRange},
		{"limit below required", Range{Required: 5 * mib, Limit: 4 * mib}, 0, ErrOutOfRange},
		{"negative", Range{Required: -1}, 0, ErrInvalid},
		{"negative limit", Range{Limit: -1}, 0, ErrInvalid},
	} {
		got, err := c.r.bytes()
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d %v, want %d %v", c.name, got, err, c.want, c.err)
		}
	}
}
