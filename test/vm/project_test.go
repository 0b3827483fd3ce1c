//go:build vm

package vm

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProjectIDs: an id belongs to a volume until that is purged, also over a restart, and who gets it next starts
// with nothing.
func TestProjectIDs(t *testing.T) {
	each(t, func(t *testing.T, n *node) {
		n.create("first", 8*mib, nil)
		first := n.record("volumes/first").Project
		target := n.publish("first")
		_, err := bound().write(t, filepath.Join(target, "file"), 6*mib)
		must(t, err)
		n.unpublish("first", target)
		n.delete("first")

		n.restart() // now ids are given out from the beginning again
		n.create("second", 8*mib, nil)
		if second := n.record("volumes/second").Project; second == first || first == 0 {
			t.Errorf("project %d is in the trash, and was given to another volume (%d)", first, second)
		}
		n.purge()
		n.restart()
		unix.Sync()

		n.create("third", 12*mib, nil)
		if third := n.record("volumes/third").Project; third != first {
			// Only XFS, which frees what was removed a little later, may still have been counting.
			t.Errorf("project %d is free, and the next volume got %d", first, third)
		}
		target = n.publish("third")
		if total, free := n.size(target); total != 12*mib || free < 12*mib-64<<10 {
			t.Errorf("a new volume of 12 MiB has %d bytes, %d of them free", total, free)
		}
		n.bites(target, 12*mib)
		if out, clean := n.check(); !clean {
			t.Error(out)
		}
	})
}
