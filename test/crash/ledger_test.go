package crash

import (
	"fmt"
	"maps"
	"reflect"
	"time"
)

// retention is how long the pools under load keep what is deleted.
const retention = time.Second

// entry is one volume in the ledger of a client: what was acknowledged, and what was asked after that and is not
// yet answered. Each belongs to one writer, so no two calls for it are under way at once.
type entry struct {
	id  string
	now state

	asked *action // nil when everything is answered
	next  state
}

// state is what a volume is, as far as its writer knows.
type state struct {
	ID                string
	Exists, Published bool
	Bytes             int64
	Files             map[string]string
	// From is the snapshot that it has started with, "" for none.
	From string
	// Snapshot is the one that its writer keeps of it, nil for none: it outlives the volume.
	Snapshot *seen
	// Deleted is when its latest deletion was asked; zero when there is nothing to restore.
	Deleted time.Time
}

// ask writes the intent, before the call.
func (e *entry) ask(a *action) {
	next := e.now
	next.Files = maps.Clone(e.now.Files)
	a.change(&next)
	e.asked, e.next = a, next
}

// acknowledge is written when the call has succeeded, refuse when it has not and the daemon lives.
func (e *entry) acknowledge() { e.now, e.asked = e.next, nil }
func (e *entry) refuse()      { e.asked = nil }

// fault tells how the pool contradicts the entry, "" when it does not.
func (e *entry) fault(w *world, v view) string {
	now := e.now.differs(w, v, e.id)
	if now == "" || e.asked == nil {
		return now
	}
	next := e.next.differs(w, v, e.id)
	if next == "" {
		return ""
	}
	return fmt.Sprintf("%s was asked and not acknowledged, and is neither whole (%s) nor absent (%s)", e.asked.name, next, now)
}

// resolve takes what was found as the state from which a repeat starts. Call it when there is no fault.
func (e *entry) resolve(w *world, v view) string {
	if e.next.differs(w, v, e.id) != "" {
		return "absent"
	}
	e.now = e.next
	return "whole"
}

// differs tells how the pool is not in this state.
func (s state) differs(w *world, v view, id string) string {
	found, ok := v.Volumes[id]
	want := w.volume(s.Bytes, s.Files)
	want.From = s.From
	kept, snapshot := v.Snapshots[ofID(id)]
	switch {
	case ok && !s.Exists:
		return fmt.Sprintf("volume %s is there: %+v", id, found)
	case !ok && s.Exists:
		return fmt.Sprintf("volume %s is missing, which had %+v", id, want)
	case ok && !reflect.DeepEqual(found, want):
		return fmt.Sprintf("volume %s is %+v, not %+v", id, found, want)
	case snapshot != (s.Snapshot != nil), snapshot && !reflect.DeepEqual(kept, *s.Snapshot):
		return fmt.Sprintf("snapshot %s is %+v (%v), not %+v", ofID(id), kept, snapshot, s.Snapshot)
	case s.Published && v.Mounts[id] != 1, !s.Published && v.Mounts[id] != 0:
		return fmt.Sprintf("volume %s is mounted %d times; published: %v", id, v.Mounts[id], s.Published)
	case !s.Deleted.IsZero() && v.Trash[id] == 0 && time.Since(s.Deleted) < retention:
		return fmt.Sprintf("volume %s was deleted %v ago and is not in the trash", id, time.Since(s.Deleted))
	}
	return ""
}

// ledger is all volumes of a pool.
type ledger []*entry

// faults compares all of the pool with the ledger.
func (l ledger) faults(w *world, v view) []string {
	var out []string
	known := map[string]bool{}
	for _, e := range l {
		known[e.id], known[ofID(e.id)] = true, true
		if f := e.fault(w, v); f != "" {
			out = append(out, "ledger: "+f)
		}
	}
	for id := range v.Volumes {
		if !known[id] {
			out = append(out, "ledger: nobody asked for volume "+id)
		}
	}
	for id := range v.Snapshots {
		if !known[id] {
			out = append(out, "ledger: nobody asked for snapshot "+id)
		}
	}
	return out
}
