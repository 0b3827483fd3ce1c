package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a run found; its JSON is for programs that compare runs.
type report struct {
	Date        time.Time
	Environment string
	Rows        []row
	Asked       []asked
	Data        []dataRow
}

// row is one operation in one pool, the medians of its times.
type row struct {
	Pool, Content, Operation, Method string
	Repeats                          int
	Ours                             time.Duration
	Probe                            time.Duration
	Floor                            time.Duration // with the Probe, if that is in it
	FloorIs                          string
	Ratio, Limit                     float64 // 0: none
	WithProbe                        float64 // the ratio if a Probe is added to a floor without
	Least, LeastFloor                time.Duration
	LeastRatio                       float64 // what a machine without other work would show
	Copy, CopySynced                 time.Duration
	Verdict                          string
}

// asked is GetCapacity beside copies.
type asked struct {
	Pool, Content        string
	Copies, Calls        int
	Probe50, Probe99     time.Duration
	Capacity50           time.Duration
	Capacity99, Capacity time.Duration // and the longest
	Ratio, Limit         float64       // of the 99th percentiles
	Verdict              string
}

// dataRow is the rate of one pattern at one place.
type dataRow struct {
	Pattern, Place string
	rate
	Ratio float64 // to a file of the pool's own
}

const (
	met  = "met"
	miss = "MISSED"
)

func newReport(dir string) *report {
	return &report{Date: time.Now().UTC(), Environment: environment(dir)}
}

func verdict(ratio, limit float64) string {
	switch {
	case limit == 0:
		return ""
	case ratio <= limit:
		return met
	}
	return miss
}

func (r *report) copies(pool, content string, m method, times samples) {
	for _, operation := range []string{snapshot, restore, clone} {
		against, with := cpSynced, ""
		if m.raw {
			against, with = rawWrite, probe
			if operation == snapshot && len(times[rawRead]) > 0 {
				against = rawRead
			}
		}
		r.add(row{
			Pool: pool, Content: content, Operation: operation, Method: m.name, Repeats: len(times[operation]),
			Ours: times.median(operation), Probe: times.median(probe), Floor: times.median(against) + times.median(with), FloorIs: m.floor, Limit: m.limit,
			Least: times.quantile(operation, 0), LeastFloor: times.quantile(against, 0) + times.quantile(with, 0),
			Copy: times.median(cpAlone), CopySynced: times.median(cpSynced),
		})
	}
}

func (r *report) block(pool string, times samples) {
	for _, one := range []struct {
		name, floor string
		limit       float64
	}{{createBlock, createFloor, 2}, {publishBlock, publishFloor, 1.5}, {createImage, "", 0}, {publishImage, "", 0}} {
		r.add(row{
			Pool: pool, Content: "64 MiB, empty", Operation: one.name, Method: "image", Repeats: len(times[one.name]),
			Ours: times.median(one.name), Probe: times.median(probe), Floor: times.median(one.floor), FloorIs: one.floor, Limit: one.limit,
			Least: times.quantile(one.name, 0), LeastFloor: times.quantile(one.floor, 0),
		})
	}
}

func (r *report) add(one row) {
	if one.Floor > 0 {
		one.Ratio = float64(one.Ours) / float64(one.Floor)
		one.LeastRatio = float64(one.Least) / float64(one.LeastFloor)
		if !strings.HasPrefix(one.FloorIs, probe) {
			one.WithProbe = float64(one.Ours) / float64(one.Floor+one.Probe)
		}
	}
	one.Verdict = verdict(one.Ratio, one.Limit)
	r.Rows = append(r.Rows, one)
}

func (r *report) asked(pool, content string, copies int, times samples) {
	a := asked{
		Pool: pool, Content: content, Copies: copies, Calls: len(times[getCapacity]), Limit: 3,
		Probe50: times.median(probe), Probe99: times.quantile(probe, 99),
		Capacity50: times.median(getCapacity), Capacity99: times.quantile(getCapacity, 99), Capacity: times.quantile(getCapacity, 100),
	}
	a.Ratio = float64(a.Capacity99) / float64(a.Probe99)
	a.Verdict = verdict(a.Ratio, a.Limit)
	r.Asked = append(r.Asked, a)
}

func (r *report) data(pattern, place string, found, own rate) {
	r.Data = append(r.Data, dataRow{pattern, place, found, found.IOPS / own.IOPS})
}

func (r *report) missed() int {
	count := 0
	for _, one := range r.Rows {
		if one.Verdict == miss {
			count++
		}
	}
	for _, one := range r.Asked {
		if one.Verdict == miss {
			count++
		}
	}
	return count
}

func environment(dir string) string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	kinds := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "XFS", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}
	var fs unix.Statfs_t
	_ = unix.Statfs(dir, &fs)
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("kernel %s, %d CPUs, files of the pools on %s, load %s",
		unix.ByteSliceToString(name.Release[:]), runtime.NumCPU(), cmp.Or(kinds[int64(fs.Type)], "another file system"),
		strings.Join(strings.Fields(string(load))[:3], " "))
}
