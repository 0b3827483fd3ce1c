package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// action is one thing that a writer does to a volume.
type action struct {
	name string
	// weight is how often it is chosen, among what is possible.
	weight   int
	possible func(s state) bool
	// change makes the state that the action aims at.
	change func(s *state)
	// run makes the call that brings e.next about; it may be repeated.
	run func(w *world, e *entry) error
	// refusal tells an error that a living daemon may answer; nil for none.
	refusal func(err error) bool
}

// errGone: the trash entry to restore is purged, or its purge has begun.
var errGone = errors.New("not in the trash any more")

func actions() []action {
	mounted := func(s state) bool { return s.Published }
	idle := func(s state) bool { return s.Exists && !s.Published }
	return []action{
		{"create", 3, func(s state) bool { return !s.Exists }, func(s *state) {
			*s = state{ID: s.ID, Exists: true, Bytes: (1 + rand.Int64N(4)) * mebibyte, Files: map[string]string{}, Snapshot: s.Snapshot}
		}, func(w *world, e *entry) error { return w.create(e.id, e.next.Bytes) }, exhausted},
		{"expand", 1, func(s state) bool { return s.Exists && s.Bytes < 8*mebibyte }, func(s *state) { s.Bytes += mebibyte },
			func(w *world, e *entry) error { return w.expand(e.id, e.next.Bytes) }, exhausted},
		{"publish", 4, idle, func(s *state) { s.Published = true },
			func(w *world, e *entry) error { return w.publish(e.id) }, nil},
		{"write", 3, mounted, func(s *state) {
			s.Files[fmt.Sprintf("f%d", rand.IntN(4))] = fmt.Sprint(rand.Int64())
		}, writeFiles, nil},
		{"unpublish", 2, mounted, func(s *state) { s.Published = false },
			func(w *world, e *entry) error { return w.unpublish(e.id) }, nil},
		{"delete", 2, idle, func(s *state) { s.Exists, s.Deleted = false, time.Now() },
			func(w *world, e *entry) error { return w.delete(e.id) }, nil},
		{"delete in use", 1, mounted, func(*state) {}, deleteInUse, nil},
		{"snapshot", 2, func(s state) bool { return s.Exists && s.Snapshot == nil }, keepSnapshot,
			func(w *world, e *entry) error { return w.snapshot(ofID(e.id), e.id) }, exhausted},
		{"delete snapshot", 1, func(s state) bool { return s.Snapshot != nil }, func(s *state) { s.Snapshot = nil },
			func(w *world, e *entry) error { return w.deleteSnapshot(ofID(e.id)) }, nil},
		{"restore snapshot", 3, func(s state) bool { return !s.Exists && s.Snapshot != nil }, startWithSnapshot,
			func(w *world, e *entry) error { return w.clone(e.id, e.next.Bytes, ofSnapshot(ofID(e.id))) }, exhausted},
		{"restore", 3, func(s state) bool { return !s.Exists && !s.Deleted.IsZero() },
			func(s *state) { s.Exists, s.Deleted = true, time.Time{} }, restoreLatest, func(err error) bool { return errors.Is(err, errGone) }},
	}
}

// keepSnapshot has the volume's snapshot hold what it holds now.
func keepSnapshot(s *state) {
	s.Snapshot = &seen{Bytes: s.Bytes, Of: s.ID, Files: maps.Clone(s.Files)}
}

// startWithSnapshot makes the volume again of its snapshot, larger by a mebibyte.
func startWithSnapshot(s *state) {
	*s = state{ID: s.ID, Exists: true, Bytes: s.Snapshot.Bytes + mebibyte, Files: maps.Clone(s.Snapshot.Files), From: ofID(s.ID), Snapshot: s.Snapshot}
}

// exhausted: a volume or a growth does not fit, since deleted volumes hold their space until they are purged.
func exhausted(err error) bool {
	return status.Code(err) == codes.ResourceExhausted || status.Code(err) == codes.OutOfRange
}

// writeFiles writes through the mount what is new, durably. The daemon has no part in it.
func writeFiles(w *world, e *entry) error {
	for name, text := range e.next.Files {
		if e.now.Files[name] == text {
			continue
		}
		f, err := os.Create(filepath.Join(w.target(e.id), name))
		if err != nil {
			return err
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// deleteInUse succeeds when it is refused.
func deleteInUse(w *world, e *entry) error {
	err := w.delete(e.id)
	if err == nil {
		return fmt.Errorf("volume %s was deleted while it was published", e.id)
	}
	if status.Code(err) == codes.FailedPrecondition {
		return nil
	}
	return err
}

// restoreLatest restores what the latest deletion put into the trash.
func restoreLatest(w *world, e *entry) error {
	name, err := w.trashed(e.id, e.now.Deleted)
	if err != nil {
		return err
	}
	err = w.restore(name)
	if err == nil {
		return nil
	}
	// Refused, or not answered. Only a purge may be in the way, and that shows soon.
	gone := until("why a restore is refused: "+err.Error(), func() bool {
		_, gone := w.trashed(e.id, e.now.Deleted)
		return gone != nil
	})
	if gone != nil {
		return gone
	}
	_, again := w.trashed(e.id, e.now.Deleted)
	return errors.Join(again, err)
}

// trashed finds the entry of a volume that was deleted at the given time or later.
func (w *world) trashed(id string, since time.Time) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	entries, err := w.admin.Trash(ctx)
	if err != nil {
		return "", err
	}
	for _, t := range entries {
		if t.ID == id && !t.Deleted.Before(since) && !t.Purging {
			return t.Name, nil
		}
	}
	return "", fmt.Errorf("%s: %w", id, errGone)
}
