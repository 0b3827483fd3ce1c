//go:build power

package power

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/hostvol/hostvol/pkg/admin"
)

// found is what the daemon serves of one volume, and what the kernel says of it.
type found struct {
	exists bool
	volume admin.Volume
	texts  map[string]string
	limit  int64

	snapshot *admin.Snapshot
	group    []admin.Snapshot
	trash    int
}

// verdict is what came of the operations that a cut has fallen into, and how many were acknowledged before.
type verdict struct{ acknowledged, whole, absent int }

// oracle compares a daemon with the ledger.
type oracle struct {
	books []*book
	at    int // the cut
	moments
	random *rand.Rand

	verdict
	faults []string
}

func (o *oracle) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

// look collects all faults.
func (o *oracle) look(ctx context.Context, w *world) []string {
	if faults, err := w.admin.Check(ctx); err != nil || len(faults) > 0 {
		o.fault("check: %+v, %v", faults, err)
	}
	if left, err := os.ReadDir(filepath.Join(w.pool, "staging")); err != nil || len(left) > 0 {
		o.fault("staging holds %v, %v", left, err)
	}
	volumes, err := w.admin.Volumes(ctx)
	if err != nil {
		o.fault("list: %v", err)
		return o.faults
	}
	snapshots, err := w.admin.Snapshots(ctx)
	if err != nil {
		o.fault("list: %v", err)
	}
	trash, err := w.admin.Trash(ctx)
	if err != nil {
		o.fault("list: %v", err)
	}
	known := 0
	for _, b := range o.books {
		f := find(b.id, volumes, snapshots, trash)
		if f.exists {
			known++
			o.read(ctx, w, b, &f)
		}
		o.compare(b, f)
	}
	if known != len(volumes) {
		o.fault("of %d volumes nobody knows %d", len(volumes), len(volumes)-known)
	}
	o.open(ctx, w)
	return o.faults
}

func find(id string, volumes []admin.Volume, snapshots []admin.Snapshot, trash []admin.TrashEntry) found {
	f := found{trash: len(ofVolume(trash, id))}
	for _, v := range volumes {
		if v.ID == id {
			f.exists, f.volume = true, v
		}
	}
	for _, s := range snapshots {
		if s.ID == snapshotOf(id) {
			f.snapshot = &s
		}
		if s.Group == groupOf(id) {
			f.group = append(f.group, s)
		}
	}
	return f
}

// read publishes a volume, for its content and its limit.
func (o *oracle) read(ctx context.Context, w *world, b *book, f *found) {
	err := w.published(ctx, b.id, b.class, func(target string) (err error) {
		if f.texts, err = b.class.get(target); err != nil {
			return err
		}
		f.limit, err = b.class.limit(w.kind, target)
		return err
	})
	if err != nil {
		o.fault("read %s: %v", b.id, err)
	}
}

// compare has the volume be what it was when the last operation was acknowledged, or what the next one makes of it.
func (o *oracle) compare(b *book, f found) {
	now, next, acked := b.at(o.at, o.moments)
	o.acknowledged += acked
	wrong := now.differs(f)
	if next == nil {
		if wrong != "" {
			o.fault("%s: %s", b.id, wrong)
		}
		return
	}
	switch neither := next.after.differs(f); {
	case neither == "":
		o.whole++
	case wrong == "":
		o.absent++
	default:
		o.fault("%s: %s was asked and not acknowledged, and is neither whole (%s) nor absent (%s)", b.id, next.name, neither, wrong)
	}
}

// differs tells how what was found is not this state.
func (s state) differs(f found) string {
	from := ""
	if s.From != "" {
		from = "snapshot " + s.From
	}
	switch {
	case s.Exists != f.exists:
		return fmt.Sprintf("it exists: %v, not %v", f.exists, s.Exists)
	case s.Exists && (f.volume.Bytes != s.Bytes || !f.volume.Enforced || f.volume.From != from):
		return fmt.Sprintf("it is %+v, not of %d bytes from %q", f.volume, s.Bytes, from)
	case s.Exists && f.limit != s.Bytes:
		return fmt.Sprintf("the kernel's limit is %d, not %d", f.limit, s.Bytes)
	case s.Exists && !reflect.DeepEqual(f.texts, s.Texts):
		return fmt.Sprintf("it holds %v, not %v", f.texts, s.Texts)
	case (s.Snapshot != nil) != (f.snapshot != nil), s.Snapshot != nil && f.snapshot.Bytes != s.Snapshot.Bytes:
		return fmt.Sprintf("its snapshot is %+v, not %+v", f.snapshot, s.Snapshot)
	case !s.Group.is(f.group):
		return fmt.Sprintf("its group is %+v, not %+v", f.group, s.Group)
	case f.trash < len(s.Trash) || f.trash > len(s.Trash)+s.Purged:
		return fmt.Sprintf("%d of it are in the trash, not %d", f.trash, len(s.Trash))
	}
	return ""
}

// open looks into a snapshot and into a trash entry, by bringing them back: the daemon also works after a cut.
func (o *oracle) open(ctx context.Context, w *world) {
	o.openGroup(ctx, w)
	snapshot, restored := false, false
	for _, i := range o.random.Perm(len(o.books)) {
		b := o.books[i]
		now, next, _ := b.at(o.at, o.moments)
		switch {
		case next != nil:
		case now.Snapshot != nil && !snapshot:
			snapshot = true
			if err := w.create(ctx, "opened", b.class, now.Snapshot.Bytes, snapshotOf(b.id)); err != nil {
				o.fault("create from snapshot of %s: %v", b.id, err)
				continue
			}
			o.holds(ctx, w, "opened", b, *now.Snapshot)
		case !now.Exists && len(now.Trash) > 0 && !restored:
			restored = true
			if err := w.restoreLatest(ctx, b.id); err != nil {
				o.fault("restore: %v", err)
				continue
			}
			o.holds(ctx, w, b.id, b, now.Trash[len(now.Trash)-1].kept)
		}
	}
}

// is tells whether these are the two members, or none as there shall be none.
func (p *pair) is(members []admin.Snapshot) bool {
	if p == nil {
		return len(members) == 0
	}
	var sizes []int64
	for _, m := range members {
		sizes = append(sizes, m.Bytes)
	}
	slices.Sort(sizes)
	return slices.Equal(sizes, slices.Sorted(slices.Values([]int64{p.own.Bytes, p.partner.Bytes})))
}

// openGroup looks into the members of a group as open does.
func (o *oracle) openGroup(ctx context.Context, w *world) {
	for _, i := range o.random.Perm(len(o.books)) {
		b := o.books[i]
		now, next, _ := b.at(o.at, o.moments)
		if now.Group == nil || next != nil {
			continue
		}
		snapshots, err := w.admin.Snapshots(ctx)
		if err != nil {
			o.fault("list: %v", err)
		}
		for _, s := range find(b.id, nil, snapshots, nil).group {
			want := map[string]kept{b.id: now.Group.own, b.partner.id: now.Group.partner}[s.SourceID]
			id := "opened-" + s.SourceID
			if err := w.create(ctx, id, b.class, want.Bytes, s.ID); err != nil {
				o.fault("create from %s: %v", s.ID, err)
				continue
			}
			o.holds(ctx, w, id, b, want)
		}
		return
	}
}

func (o *oracle) holds(ctx context.Context, w *world, id string, b *book, want kept) {
	var f found
	o.read(ctx, w, &book{id: id, class: b.class}, &f)
	if f.limit != want.Bytes || !reflect.DeepEqual(f.texts, want.Texts) {
		o.fault("%s of %s holds %v within %d, not %+v", id, b.id, f.texts, f.limit, want)
	}
}
