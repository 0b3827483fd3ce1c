package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// plant breaks one invariant behind the daemon's back, and says how that must be found.
type plant struct {
	name string
	find []string
	do   func(w *world, e *entry) (undo func() error, err error)
}

func plants() []plant {
	return []plant{
		{"a record is gone", []string{"RecordUnreadable", "IndexDiffersFromDisk"}, func(w *world, e *entry) (func() error, error) {
			return setRecord(w.item(e.id), func([]byte) []byte { return nil })
		}},
		{"a record has another size", []string{"IndexDiffersFromDisk", "ledger: ", "on the disk is"}, func(w *world, e *entry) (func() error, error) {
			return setRecord(w.item(e.id), func(old []byte) []byte {
				return []byte(strings.Replace(string(old), fmt.Sprint(small), fmt.Sprint(large), 1))
			})
		}},
		{"the data is gone", []string{"DataMissing"}, func(w *world, e *entry) (func() error, error) {
			return moveAway(w, w.data(e.id))
		}},
		{"a volume is gone", []string{"IndexDiffersFromDisk", "shows"}, func(w *world, e *entry) (func() error, error) {
			return moveAway(w, w.item(e.id))
		}},
		{"a snapshot is gone", []string{"IndexDiffersFromDisk", "ledger: ", "snapshots"}, func(w *world, e *entry) (func() error, error) {
			return moveAway(w, filepath.Join(w.pool, "snapshots", ofID(e.id)))
		}},
		{"a snapshot holds something else", []string{"IndexDiffersFromDisk"}, func(w *world, e *entry) (func() error, error) {
			return setRecord(filepath.Join(w.pool, "snapshots", ofID(e.id)), func(old []byte) []byte {
				return []byte(strings.Replace(string(old), `"held":`, `"held":1`, 1))
			})
		}},
		{"a snapshot appears", []string{"RecordUnreadable"}, func(w *world, _ *entry) (func() error, error) {
			ghost := filepath.Join(w.pool, "snapshots", "ghost")
			return func() error { return os.Remove(ghost) }, os.Mkdir(ghost, 0o700)
		}},
		{"a file is gone", []string{"ledger: "}, func(w *world, e *entry) (func() error, error) {
			undo := func() error { return write(w.data(e.id), content(e.id)) }
			return undo, os.Remove(filepath.Join(w.data(e.id), "d0/f0"))
		}},
		{"a volume appears", []string{"RecordUnreadable"}, func(w *world, _ *entry) (func() error, error) {
			ghost := w.item("ghost")
			return func() error { return os.Remove(ghost) }, os.Mkdir(ghost, 0o700)
		}},
		{"something is in staging", []string{"staging holds"}, func(w *world, _ *entry) (func() error, error) {
			left := filepath.Join(w.pool, "staging", "left")
			return func() error { return os.Remove(left) }, os.Mkdir(left, 0o700)
		}},
		{"a second layer", []string{"MountedTwice", "2 layers"}, func(w *world, e *entry) (func() error, error) {
			target := w.target(e.id)
			return func() error { return unix.Unmount(target, 0) }, unix.Mount(w.data(e.id), target, "", unix.MS_BIND, "")
		}},
		{"a mount is gone", []string{"mounted 0 times"}, func(w *world, e *entry) (func() error, error) {
			return func() error { return w.publish(e.id) }, unix.Unmount(w.target(e.id), 0)
		}},
		{"another limit", []string{"LimitMissing", "the kernel's limit"}, func(w *world, e *entry) (func() error, error) {
			undo := func() error { return limit(w, e.id, small) }
			return undo, limit(w, e.id, large)
		}},
		{"no limit", []string{"LimitMissing", "the kernel's limit"}, func(w *world, e *entry) (func() error, error) {
			undo := func() error { return limit(w, e.id, small) }
			_, err := btrfs("qgroup", "limit", "none", w.data(e.id))
			return undo, err
		}},
		{"the trash is gone", []string{"tells the trash"}, func(w *world, _ *entry) (func() error, error) {
			return moveAway(w, filepath.Join(w.pool, "trash", names(filepath.Join(w.pool, "trash"))[0]))
		}},
		{"an acknowledged volume never was", []string{"ledger: "}, func(_ *world, e *entry) (func() error, error) {
			e.id += "-not"
			return func() error { e.id = strings.TrimSuffix(e.id, "-not"); return nil }, nil
		}},
		{"a deleted volume is back", []string{"ledger: "}, func(_ *world, e *entry) (func() error, error) {
			e.now.Exists = false
			return func() error { e.now.Exists = true; return nil }, nil
		}},
	}
}

func setRecord(item string, change func([]byte) []byte) (undo func() error, err error) {
	buffer := make([]byte, 4096)
	n, err := unix.Lgetxattr(item, attribute, buffer)
	if err != nil {
		return nil, err
	}
	old := buffer[:n]
	undo = func() error { return unix.Lsetxattr(item, attribute, old, 0) }
	if changed := change(old); changed != nil {
		return undo, unix.Lsetxattr(item, attribute, changed, 0)
	}
	return undo, unix.Lremovexattr(item, attribute)
}

func moveAway(w *world, path string) (undo func() error, err error) {
	away := filepath.Join(w.pool, "away")
	return func() error { return os.Rename(away, path) }, os.Rename(path, away)
}

func limit(w *world, id string, bytes int64) error {
	_, err := btrfs("qgroup", "limit", fmt.Sprint(bytes), w.data(id))
	return err
}
