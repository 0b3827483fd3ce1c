package crash

import (
	"errors"
	"maps"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
)

// operation is something that is asked of the daemon and passes durable steps.
type operation struct {
	name  string
	steps []string
	// later are those of the steps that may be passed after the answer.
	later []string
	// only names the filesystem that has it; "" for all.
	only string
	// prepare brings about what there is before, all of it acknowledged.
	prepare func(w *world, id string) error
	run     func(w *world, id string) error
	// effect changes a view as the operation does.
	effect func(w *world, v view, id string)
	// between changes a view as parts of the operation do, on which the repeat goes on; nil where it is one step.
	between []func(w *world, v view, id string)
	// repeatable: it succeeds again once it is done, as CSI wants it. Of an administrator's command a repeat is
	// a second one, and is made only where the first left nothing.
	repeatable bool
	// repeat is the second time; nil for run.
	repeat func(w *world, id string) error
	// passing are reasons of faults that hold until the next start.
	passing []string
}

const (
	small = 8 * mebibyte
	large = 16 * mebibyte
)

func operations() []operation {
	all := []operation{{
		name: "create", steps: building(),
		run:        func(w *world, id string) error { return w.create(id, small) },
		effect:     func(w *world, v view, id string) { v.Volumes[id] = w.volume(small, nil) },
		repeatable: true,
	}, {
		name: "expand", steps: []string{"expand.recorded", "expand.durable", "expand.applied"},
		prepare: filled,
		run:     func(w *world, id string) error { return w.expand(id, large) },
		effect: func(_ *world, v view, id string) {
			s := v.Volumes[id]
			s.Bytes = large
			v.Volumes[id] = s
		},
		repeatable: true, passing: []string{engine.LimitMissing},
	}, {
		name: "delete", steps: []string{"delete.renamed", "delete.durable"},
		prepare:    filled,
		run:        (*world).delete,
		effect:     func(_ *world, v view, id string) { delete(v.Volumes, id); v.Trash[id]++ },
		repeatable: true,
	}, {
		name: "restore", steps: []string{"restore.renamed", "restore.durable"},
		prepare: deleted,
		run:     (*world).restore,
		effect:  func(w *world, v view, id string) { delete(v.Trash, id); v.Volumes[id] = w.volume(small, content(id)) },
	}, {
		name: "purge", steps: []string{"purge.marked", "purge.removed"},
		prepare: deleted,
		run:     func(w *world, _ string) error { return w.purge() },
		repeat:  func(w *world, _ string) error { return w.purged() }, // the next start continues it
		effect:  func(_ *world, v view, id string) { delete(v.Trash, id) },
	}, {
		name: "adopt", steps: []string{"adopt.recorded", "adopt.moved", "adopt.renamed"},
		prepare: origin,
		run:     func(w *world, id string) error { return w.adopt(id, small, false) },
		effect: func(w *world, v view, id string) {
			v.Volumes[id] = seen{Bytes: small, Origin: w.origin(id), Files: content(id)}
			maps.DeleteFunc(v.Origins, below(id))
		},
	}, {
		name: "convert", only: "btrfs", steps: []string{"adopt.moved", "adopt.renamed"}, // it copies; the original stays
		prepare: origin,
		run:     func(w *world, id string) error { return w.adopt(id, small, true) },
		effect: func(w *world, v view, id string) {
			v.Volumes[id] = seen{Bytes: small, Enforced: true, Origin: w.origin(id), Files: content(id)}
		},
	}, {
		name: "release", steps: []string{"release.staged", "release.moved"},
		prepare: func(w *world, id string) error { return errors.Join(origin(w, id), w.adopt(id, small, false)) },
		run:     (*world).release,
		effect:  releaseEffect,
	}, {
		name: "release converted", only: "btrfs", steps: []string{"release.staged", "release.moved"},
		prepare: func(w *world, id string) error {
			return errors.Join(origin(w, id), w.adopt(id, small, true), os.RemoveAll(w.origin(id)))
		},
		run:    (*world).release,
		effect: releaseEffect,
	}, {
		name: "snapshot", steps: building(),
		prepare:    filled,
		run:        func(w *world, id string) error { return w.snapshot(ofID(id), id) },
		effect:     func(_ *world, v view, id string) { v.Snapshots[ofID(id)] = snapshotOf(id) },
		repeatable: true,
	}, {
		name: "delete snapshot", steps: []string{"delete.renamed", "delete.durable"},
		prepare:    snapshotted,
		run:        func(w *world, id string) error { return w.deleteSnapshot(ofID(id)) },
		effect:     func(_ *world, v view, id string) { delete(v.Snapshots, ofID(id)); v.Trash[ofID(id)]++ },
		repeatable: true,
	}, {
		name: "restore snapshot", steps: []string{"restore.renamed", "restore.durable"},
		prepare: func(w *world, id string) error { return errors.Join(snapshotted(w, id), w.deleteSnapshot(ofID(id))) },
		run:     func(w *world, id string) error { return w.restore(ofID(id)) },
		effect:  func(_ *world, v view, id string) { delete(v.Trash, ofID(id)); v.Snapshots[ofID(id)] = snapshotOf(id) },
	}, {
		name: "purge snapshot", steps: []string{"purge.marked", "purge.removed"},
		prepare: func(w *world, id string) error { return errors.Join(snapshotted(w, id), w.deleteSnapshot(ofID(id))) },
		run:     func(w *world, _ string) error { return w.purge() },
		repeat:  func(w *world, _ string) error { return w.purged() },
		effect:  func(_ *world, v view, id string) { delete(v.Trash, ofID(id)) },
	}, {
		name: "clone", steps: building(),
		prepare:    filled,
		run:        func(w *world, id string) error { return w.clone(copyID(id), large, ofVolume(id)) },
		effect:     func(w *world, v view, id string) { v.Volumes[copyID(id)] = w.copied(large, id, id) },
		repeatable: true,
	}, {
		name: "clone of a snapshot whose volume is gone", steps: building(),
		prepare: func(w *world, id string) error {
			return errors.Join(snapshotted(w, id), w.delete(id), w.purge(), w.purged())
		},
		run:        func(w *world, id string) error { return w.clone(copyID(id), small, ofSnapshot(ofID(id))) },
		effect:     func(w *world, v view, id string) { v.Volumes[copyID(id)] = w.copied(small, ofID(id), id) },
		repeatable: true,
	}, {
		name: "publish", steps: []string{"publish.made", "publish.mounted"},
		prepare:    filled,
		run:        (*world).publish,
		effect:     func(_ *world, v view, id string) { v.Mounts[id] = 1 },
		repeatable: true,
	}, {
		name: "unpublish", steps: []string{"unpublish.unmounted", "unpublish.cleared"},
		prepare:    func(w *world, id string) error { return errors.Join(filled(w, id), w.publish(id)) },
		run:        (*world).unpublish,
		effect:     unmounts,
		repeatable: true,
	}, {
		name:       "publish ephemeral",
		steps:      []string{"create.begun", "create.built", "create.staged", "create.renamed", "create.durable", "publish.made", "publish.mounted"},
		prepare:    (*world).pod,
		run:        (*world).publishEphemeral,
		effect:     func(w *world, v view, id string) { v.Volumes[id], v.Mounts[id] = w.volume(small, nil), 1 },
		between:    []func(*world, view, string){func(w *world, v view, id string) { v.Volumes[id] = w.volume(small, nil) }},
		repeatable: true,
	}, {
		name:    "unpublish ephemeral",
		steps:   []string{"unpublish.unmounted", "unpublish.cleared", "delete.renamed", "delete.durable", "purge.marked", "purge.removed"},
		later:   []string{"purge.marked", "purge.removed"},
		prepare: publishedEphemeral,
		run:     (*world).unpublishEphemeral,
		repeat:  func(w *world, id string) error { return errors.Join(w.unpublishEphemeral(id), w.purged()) },
		effect:  func(_ *world, v view, id string) { delete(v.Mounts, id); delete(v.Volumes, id) },
		between: []func(*world, view, string){unmounts, func(_ *world, v view, id string) {
			delete(v.Mounts, id)
			delete(v.Volumes, id)
			v.Trash[id]++ // until it is purged
		}},
		repeatable: true,
	}}
	return append(all, imageOperations()...)
}

// building are the steps of all that is built in staging/.
func building() []string {
	return []string{"create.begun", "create.built", "create.staged", "create.renamed", "create.durable"}
}

func unmounts(_ *world, v view, id string) { delete(v.Mounts, id) }

func releaseEffect(_ *world, v view, id string) {
	delete(v.Volumes, id)
	for path, text := range content(id) {
		v.Origins[id+"/"+path] = text
	}
}
