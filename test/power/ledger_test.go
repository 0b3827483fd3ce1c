//go:build power

package power

import (
	"maps"
	"slices"
)

// state is what there is of one volume: itself, its snapshot, and what lies of it in the trash.
type state struct {
	Exists bool
	kept
	// From is the snapshot that it has started with, "" for none.
	From string
	// Snapshot is the one that its client keeps of it; it outlives the volume.
	Snapshot *kept
	// Group is the snapshot of it and its partner together, which its client keeps in the same way.
	Group *pair
	// Trash is what was deleted, the latest last; Purged counts what was purged of it, which a cut may bring back.
	Trash  []trashed
	Purged int
}

// kept is a size and a content.
type kept struct {
	Bytes int64
	Texts map[string]string
}

type pair struct{ own, partner kept }

type trashed struct {
	kept
	From string
}

func (k kept) clone() kept { return kept{Bytes: k.Bytes, Texts: maps.Clone(k.Texts)} }

func (s state) clone() state {
	s.kept = s.kept.clone()
	s.Trash = slices.Clone(s.Trash) // what is in it never changes
	return s
}

// operation is one line of the ledger.
type operation struct {
	number int
	name   string
	after  state
	// refused: the daemon said that it does not fit.
	refused bool
}

// book is the ledger of one volume, in the order of the operations; they do not overlap.
type book struct {
	id    string
	class *class
	// partner is the volume with which it is snapshotted in a group, nil for none.
	partner    *book
	operations []operation
}

// latest is what the volume is when everything is answered.
func (b *book) latest() state {
	for _, o := range slices.Backward(b.operations) {
		if !o.refused {
			return o.after
		}
	}
	return state{}
}

// moments tell where in the log an operation has begun, and where it was acknowledged or refused.
type moments struct{ begun, acked, refused map[int]int }

// at is what a volume must be at a cut: now, or next if that is not nil.
func (b *book) at(cut int, m moments) (now state, next *operation, acked int) {
	happened := func(in map[int]int, number int) bool {
		at, ok := in[number]
		return ok && at < cut
	}
	for i, o := range b.operations {
		switch {
		case !happened(m.begun, o.number):
			return now, next, acked
		case happened(m.acked, o.number):
			now, next = o.after, nil
			acked++
		case !happened(m.refused, o.number):
			next = &b.operations[i]
		}
	}
	return now, next, acked
}
