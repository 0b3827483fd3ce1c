//go:build power

package power

import (
	"context"
	"fmt"
	"math/rand/v2"
)

const mebibyte = 1 << 20

// action is one thing that a client does with a volume.
type action struct {
	name     string
	weight   int // how often it is chosen among what is possible
	possible func(s state, b *book) bool
	change   func(s *state, b *book, random *rand.Rand)
	run      func(ctx context.Context, w *world, b *book, before, after state) error
}

func actions() []action {
	there := func(s state, _ *book) bool { return s.Exists }
	return []action{
		{"create", 4, func(s state, _ *book) bool { return !s.Exists }, func(s *state, b *book, r *rand.Rand) {
			s.Exists, s.From, s.kept = true, "", kept{Bytes: b.class.base + (1+r.Int64N(4))*mebibyte, Texts: map[string]string{}}
		}, func(ctx context.Context, w *world, b *book, _, after state) error {
			return w.create(ctx, b.id, b.class, after.Bytes, "")
		}},
		{"write", 4, there, func(s *state, _ *book, r *rand.Rand) {
			s.Texts[textNames()[r.IntN(len(textNames()))]] = fmt.Sprint(r.Int64())
		}, writeTexts},
		{"expand", 2, func(s state, _ *book) bool { return s.Exists && s.Bytes < 12*mebibyte }, func(s *state, _ *book, _ *rand.Rand) { s.Bytes += mebibyte },
			func(ctx context.Context, w *world, b *book, _, after state) error {
				return w.expand(ctx, b.id, b.class, after.Bytes)
			}},
		{"delete", 2, there, func(s *state, _ *book, _ *rand.Rand) {
			s.Trash = append(s.Trash, trashed{kept: s.kept.clone(), From: s.From})
			s.Exists, s.kept, s.From = false, kept{}, ""
		}, func(ctx context.Context, w *world, b *book, _, _ state) error { return w.delete(ctx, b.id) }},
		{"restore", 3, func(s state, _ *book) bool { return !s.Exists && len(s.Trash) > 0 }, func(s *state, _ *book, _ *rand.Rand) {
			latest := s.Trash[len(s.Trash)-1]
			s.Trash = s.Trash[:len(s.Trash)-1]
			s.Exists, s.kept, s.From = true, latest.clone(), latest.From
		}, func(ctx context.Context, w *world, b *book, _, _ state) error { return w.restoreLatest(ctx, b.id) }},
		{"purge", 1, func(s state, _ *book) bool { return len(s.Trash) > 1 }, func(s *state, _ *book, _ *rand.Rand) {
			s.Trash = s.Trash[1:]
			s.Purged++
		}, func(ctx context.Context, w *world, b *book, _, _ state) error { return w.purgeOldest(ctx, b.id) }},
		{"snapshot", 3, func(s state, _ *book) bool { return s.Exists && s.Snapshot == nil }, func(s *state, _ *book, _ *rand.Rand) {
			snapshot := s.kept.clone()
			s.Snapshot = &snapshot
		}, func(ctx context.Context, w *world, b *book, _, _ state) error {
			if b.class.busy {
				return w.published(ctx, b.id, b.class, func(string) error { return w.snapshot(ctx, snapshotOf(b.id), b.id) })
			}
			return w.snapshot(ctx, snapshotOf(b.id), b.id)
		}},
		{"snapshot group", 3, func(s state, b *book) bool {
			return s.Exists && s.Group == nil && b.partner != nil && b.partner.latest().Exists
		}, func(s *state, b *book, _ *rand.Rand) {
			s.Group = &pair{s.kept.clone(), b.partner.latest().kept.clone()}
		}, func(ctx context.Context, w *world, b *book, _, _ state) error {
			return w.group(ctx, groupOf(b.id), b.id, b.partner.id)
		}},
		{"delete group", 1, func(s state, _ *book) bool { return s.Group != nil }, func(s *state, _ *book, _ *rand.Rand) { s.Group = nil },
			func(ctx context.Context, w *world, b *book, _, _ state) error {
				return w.deleteGroup(ctx, groupOf(b.id))
			}},
		{"delete snapshot", 1, func(s state, _ *book) bool { return s.Snapshot != nil }, func(s *state, _ *book, _ *rand.Rand) { s.Snapshot = nil },
			func(ctx context.Context, w *world, b *book, _, _ state) error {
				return w.deleteSnapshot(ctx, snapshotOf(b.id))
			}},
		{"create from snapshot", 5, func(s state, _ *book) bool { return !s.Exists && s.Snapshot != nil }, func(s *state, b *book, _ *rand.Rand) {
			s.Exists, s.From, s.kept = true, snapshotOf(b.id), s.Snapshot.clone()
			s.Bytes += mebibyte
		}, func(ctx context.Context, w *world, b *book, _, after state) error {
			return w.create(ctx, b.id, b.class, after.Bytes, after.From)
		}},
	}
}

func snapshotOf(id string) string { return "s-" + id }
func groupOf(id string) string    { return "g-" + id }

// writeTexts writes through the mount what is new.
func writeTexts(ctx context.Context, w *world, b *book, before, after state) error {
	return w.published(ctx, b.id, b.class, func(target string) error {
		for name, text := range after.Texts {
			if before.Texts[name] == text {
				continue
			}
			if err := b.class.put(target, name, text); err != nil {
				return err
			}
		}
		return nil
	})
}
