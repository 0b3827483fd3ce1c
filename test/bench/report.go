package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a run found; its JSON is for programs that compare runs.
type report struct {
	Date        time.Time
	Environment string
	Rounds      int
	Rows        []row
	Checks      []check
}

// row is one call in one scenario, at one caller and at many.
type row struct {
	Scenario  string
	Call      string
	One       timing
	Many      timing
	RawOne    timing // the raw operation, where the call has one
	RawMany   timing
	Floor     time.Duration // p50 of Probe and of the raw operation, at one caller
	Ratio     float64       // p50 by floor
	Paced     timing        // Probe and the raw operation, timed as one, at one caller
	PacedMany timing
	Limit     float64 // 0: none
	Verdict   string
}

type timing struct {
	P50, P99 time.Duration
	Rate     float64 // per second
}

// check is a target that is not the ratio of a row.
type check struct {
	What    string
	Found   string
	Target  string
	Verdict string
}

const (
	pass    = "pass"
	miss    = "MISS"
	unclear = "unclear" // it looks missed, but Probe alone changed by more than a tenth
)

func verdict(reached bool) string {
	if reached {
		return pass
	}
	return miss
}

// limits are the targets at one caller: p50 of the call ≤ factor × (Probe + raw operation).
var limits = []struct {
	call   string
	raw    bool
	factor float64
}{
	{probe, false, 0},
	{createVolume, true, 1.5},
	{deleteVolume, true, 1.5},
	{controllerPublish, false, 1.5},
	{nodePublish, true, 1.5},
	{republish, false, 0},
	{nodeUnpublish, true, 1.5},
	{nodeStats, false, 1.5},
	{listVolumes, false, 3},
}

func conclude(o options, p plan, pools string, stations []*station) (*report, error) {
	r := &report{Date: time.Now().UTC(), Environment: environment(pools), Rounds: p.rounds}
	for _, s := range stations {
		for _, limit := range limits {
			r.Rows = append(r.Rows, s.row(limit.call, limit.raw, limit.factor))
		}
	}
	few, full := stations[0], stations[len(stations)-2]
	mounted := stations[len(stations)-1]
	r.volumeGrowth(few, stations[1], full)
	r.mountGrowth(full, mounted)
	for _, s := range stations {
		r.throughput(s)
	}
	return r, r.whole(p, full, mounted)
}

func (s *station) row(call string, hasRaw bool, factor float64) row {
	out := row{Scenario: s.scenario.Name, Call: call, One: summary(s.one[call]), Many: summary(s.many[call]), Limit: factor}
	if call == probe {
		return out
	}
	out.Floor = p50(s.one[probe])
	if hasRaw {
		out.RawOne, out.RawMany = summary(s.one[raw(call)]), summary(s.many[raw(call)])
		out.Floor += out.RawOne.P50
		out.Paced, out.PacedMany = summary(s.one[paced(call)]), summary(s.many[paced(call)])
	}
	out.Ratio = float64(out.One.P50) / float64(out.Floor)
	if factor > 0 {
		out.Verdict = verdict(out.Ratio <= factor)
	}
	return out
}

// volumeGrowth compares the pool with volumes with the empty one. An empty list is not the same work as a page of
// a hundred, so ListVolumes is compared with the smallest pool that fills its page. Probe, which knows no volumes,
// shows how much two scenarios differ by chance.
func (r *report) volumeGrowth(empty, small, full *station) {
	for _, limit := range limits {
		from := empty
		if limit.call == listVolumes {
			from = small
		}
		if from == full && limit.call == listVolumes {
			continue // with -short there is no larger pool
		}
		r.growth(from, full, limit.call, 0.15)
	}
}

func (r *report) mountGrowth(few, many *station) {
	for _, limit := range limits {
		allowed := 0.15
		if of := raw(limit.call); len(few.one[of].Took) > 0 {
			allowed = max(allowed, grown(few, many, of))
		}
		r.growth(few, many, limit.call, allowed)
	}
}

func (r *report) growth(from, to *station, call string, allowed float64) {
	found := grown(from, to, call)
	c := check{
		What:    fmt.Sprintf("%s, from %s to %s", call, from.scenario.Name, to.scenario.Name),
		Found:   fmt.Sprintf("%+.0f %%", found*100),
		Target:  fmt.Sprintf("≤ %.0f %%", allowed*100),
		Verdict: verdict(found <= allowed),
	}
	chance := grown(from, to, probe)
	if c.Verdict == miss && math.Abs(chance) > 0.1 {
		c.Verdict = unclear
	}
	if call == probe {
		c.What += " (by chance)"
		c.Target, c.Verdict = "", ""
	}
	r.Checks = append(r.Checks, c)
}

func grown(from, to *station, name string) float64 {
	return float64(p50(to.one[name]))/float64(p50(from.one[name])) - 1
}

func (r *report) throughput(s *station) {
	found, floor := summary(s.many[createVolume]).Rate, summary(s.many[raw(createVolume)]).Rate
	behind := summary(s.many[paced(createVolume)]).Rate
	r.Checks = append(r.Checks, check{
		What:    fmt.Sprintf("CreateVolume, %d callers, %s", manyCallers, s.scenario.Name),
		Found:   fmt.Sprintf("%.0f/s of %.0f/s raw, %.0f %% (of %.0f/s paced, %.0f %%)", found, floor, 100*found/floor, behind, 100*found/behind),
		Target:  "≥ 60 %",
		Verdict: verdict(found >= 0.6*floor),
	})
}

// whole checks the daemon as a whole: memory after all that was measured, start-up, and the mount table.
func (r *report) whole(p plan, full, mounted *station) error {
	for _, s := range []*station{full, mounted} {
		memory, err := s.ask(request{Do: "memory"})
		if err != nil {
			return err
		}
		r.Checks = append(r.Checks, check{
			What:    "resident memory, " + s.scenario.Name,
			Found:   fmt.Sprintf("%.1f MiB", float64(memory.Bytes)/(1<<20)),
			Target:  "≤ 60 MiB",
			Verdict: verdict(memory.Bytes <= 60<<20),
		})
	}
	for _, s := range []*station{full, mounted} {
		took, err := s.startup(p.restarts)
		if err != nil {
			return err
		}
		r.Checks = append(r.Checks, check{
			What:    "start-up, exec to Probe ready, " + s.scenario.Name,
			Found:   fmt.Sprintf("%d ms", took.Milliseconds()),
			Target:  "≤ 1000 ms",
			Verdict: verdict(took <= time.Second),
		})
	}
	c := check{What: "reads of the mount table in a repeated publish", Target: "none"}
	trace, err := mounted.ask(request{Do: "trace"})
	switch {
	case err != nil:
		c.Found, c.Verdict = err.Error(), "not checked"
	case trace.Text == "":
		c.Found, c.Verdict = "none", pass
	default:
		c.Found, c.Verdict = trace.Text, miss
	}
	r.Checks = append(r.Checks, c)
	return nil
}

func (r *report) missed() int {
	count := 0
	for _, row := range r.Rows {
		if row.Verdict == miss {
			count++
		}
	}
	for _, check := range r.Checks {
		if check.Verdict == miss {
			count++
		}
	}
	return count
}

func summary(s series) timing {
	if len(s.Took) == 0 {
		return timing{}
	}
	sorted := slices.Sorted(slices.Values(s.Took))
	return timing{
		P50:  sorted[len(sorted)/2],
		P99:  sorted[len(sorted)*99/100],
		Rate: float64(len(sorted)) / s.Wall.Seconds(),
	}
}

func p50(s series) time.Duration { return summary(s).P50 }

func environment(pools string) string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	kinds := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "XFS", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}
	var fs unix.Statfs_t
	_ = unix.Statfs(pools, &fs)
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("kernel %s, %d CPUs, pools on %s, load %s",
		unix.ByteSliceToString(name.Release[:]), runtime.NumCPU(), cmp.Or(kinds[int64(fs.Type)], "another file system"),
		strings.TrimSpace(strings.Join(strings.Fields(string(load))[:3], " ")))
}
