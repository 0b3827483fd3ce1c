package crash

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hostvol/hostvol/pkg/admin"
)

// faults tells which invariants of a served pool do not hold, whatever was asked of it before. Some of it the
// product's own check finds as well; here it is found without it.
func (w *world) faults(ctx context.Context) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }

	found, err := w.admin.Check(ctx)
	if err != nil {
		bad("check: %v", err)
	}
	for _, f := range found {
		bad("check: %s: %s: %s", f.Item, f.Reason, f.Message)
	}
	v, err := w.view()
	if err != nil {
		bad("view: %v", err)
		return out
	}
	if len(v.Staging) > 0 {
		bad("staging holds %v", v.Staging)
	}
	for id, layers := range v.Mounts {
		if layers != 1 {
			bad("%d layers are mounted on the target of %s", layers, id)
		}
		if _, ok := v.Volumes[id]; !ok {
			bad("%s is mounted and no volume", id)
		}
	}
	if devices, err := w.devices(); err != nil {
		bad("devices: %v", err)
	} else {
		for id, count := range devices {
			if count != 1 || v.Mounts[id] == 0 {
				bad("%d loop devices are attached for %s, which is mounted %d times", count, id, v.Mounts[id])
			}
		}
	}
	if w.fs.kind == "btrfs" {
		out = append(out, w.limitFaults(v)...)
	}
	return append(out, w.answerFaults(ctx, v)...)
}

// answerFaults compares the daemon's answers with the disk.
func (w *world) answerFaults(ctx context.Context, v view) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }

	volumes, err := w.admin.Volumes(ctx)
	if err != nil {
		bad("volumes: %v", err)
	}
	trash, err := w.admin.Trash(ctx)
	if err != nil {
		bad("trash: %v", err)
	}
	var promised int64
	told := map[string]admin.Volume{}
	for _, a := range volumes {
		promised += a.Bytes
		told[a.ID] = a
		s, ok := v.Volumes[a.ID]
		if !ok || s.Bytes != a.Bytes || s.Enforced != a.Enforced || s.Origin != a.Origin {
			bad("the daemon tells %+v, on the disk is %+v (%v)", a, s, ok)
		}
		if len(a.Targets) != v.Mounts[a.ID] {
			bad("the daemon tells that %s is published at %v; %d mounts are there", a.ID, a.Targets, v.Mounts[a.ID])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.Volumes)) {
		if _, ok := told[id]; !ok {
			bad("the disk has the volume %s, the daemon does not tell it", id)
		}
	}
	snapshots, err := w.admin.Snapshots(ctx)
	if err != nil {
		bad("snapshots: %v", err)
	}
	for _, a := range snapshots {
		promised += a.HeldBytes
		if s, ok := v.Snapshots[a.ID]; !ok || s.Bytes != a.Bytes || s.Of != a.SourceID {
			bad("the daemon tells %+v, on the disk is %+v (%v)", a, s, ok)
		}
	}
	if len(snapshots) != len(v.Snapshots) {
		bad("the daemon tells %d snapshots, on the disk are %d", len(snapshots), len(v.Snapshots))
	}
	entries := map[string]int{}
	for _, e := range trash {
		promised += e.Bytes
		entries[e.ID]++
	}
	if !maps.Equal(entries, v.Trash) {
		bad("the daemon tells the trash %v, on the disk is %v", entries, v.Trash)
	}
	return append(out, w.accountFaults(ctx, promised)...)
}

// accountFaults compares the account with the sum of what there is.
func (w *world) accountFaults(ctx context.Context, promised int64) []string {
	pools, err := w.admin.Pools(ctx)
	if err != nil || len(pools) != 1 || !pools[0].Open || pools[0].Quarantined > 0 {
		return []string{fmt.Sprintf("pools: %+v: %v", pools, err)}
	}
	capacity, err := w.capacity()
	if err != nil {
		return []string{fmt.Sprintf("capacity: %v", err)}
	}
	var out []string
	if pools[0].ReservedBytes != promised {
		out = append(out, fmt.Sprintf("%d bytes are reserved; volumes, snapshots and trash add up to %d", pools[0].ReservedBytes, promised))
	}
	if capacity != poolBytes-promised {
		out = append(out, fmt.Sprintf("the capacity is %d bytes, not %d", capacity, poolBytes-promised))
	}
	return out
}

// settled repeats a check while the daemon empties the trash, which changes what there is. What is wrong in a
// pool that stands still is told at once.
func (w *world) settled(ctx context.Context, check func() []string) []string {
	deadline := time.Now().Add(10 * time.Second)
	for {
		moving := len(names(w.pool+"/trash")) > 0
		faults := check()
		if len(faults) == 0 || !moving || time.Now().After(deadline) || ctx.Err() != nil {
			return faults
		}
		time.Sleep(10 * time.Millisecond)
	}
}
