package main

import "time"

const (
	mib = 1 << 20
	gib = 1 << 30
)

// plan says how much is measured.
type plan struct {
	contents []content
	fast     int           // repeats of what takes milliseconds
	slow     int           // of what takes seconds
	asking   time.Duration // how long GetCapacity is asked beside copies
	block    int           // block volumes made and published
	files    int           // filesystem images made and published
	data     dataPlan
}

func newPlan(short bool) plan {
	if short {
		return plan{
			contents: []content{{Name: "64 MiB", Bytes: 64 * mib, Written: 64 * mib}, {Name: "1000 files", Files: 1000}},
			fast:     3, slow: 1, asking: 500 * time.Millisecond, block: 10, files: 1,
			data: dataPlan{rounds: 1, each: 500 * time.Millisecond, bytes: 64 * mib},
		}
	}
	return plan{
		contents: []content{
			{Name: "64 MiB", Bytes: 64 * mib, Written: 64 * mib},
			{Name: "1 GiB", Bytes: gib, Written: gib},
			{Name: "4 GiB sparse", Bytes: 4 * gib, Written: 64 * mib},
			{Name: "10000 files", Files: 10000},
		},
		fast: 7, slow: 3, asking: 3 * time.Second, block: 50, files: 5,
		data: dataPlan{rounds: 3, each: 1500 * time.Millisecond, bytes: 512 * mib},
	}
}

// repeats of a content's operations: copies of a GiB take seconds.
func (p plan) repeats(c content, shared bool) int {
	if c.Written >= gib && !shared {
		return p.slow
	}
	return p.fast
}
