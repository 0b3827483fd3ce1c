package crash

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hostvol/hostvol/pkg/config"
)

// TestPurge kills the daemon while it removes files in the background. What is left can be removed, and not
// restored: it would be half a volume.
func TestPurge(t *testing.T) {
	const files, perSecond = 1200, 100
	w := newWorld(t, newFilesystem(t, "ext4"), func(c *config.Config) {
		c.Trash.Retention.Duration = 0
		c.Trash.PurgeRate = perSecond
	})
	id := w.newID()
	many := map[string]string{}
	for i := range files {
		many[fmt.Sprintf("%d/%d", i%7, i)] = "x"
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("create", w.create(id, small))
	must("fill", write(w.data(id), many))
	must("delete", w.delete(id))
	left := func() int {
		found, _ := filepath.Glob(filepath.Join(w.pool, "trash", id+"@*", "data", "*", "*"))
		return len(found)
	}
	for have := files; have > files/4; have -= files / 4 {
		must("purge", until("for a part of the files to go", func() bool { return left() < have }))
		must("kill", w.daemon.Kill())
		if n := left(); n == 0 { // asked while it is dead: the next one goes on at once
			t.Fatal("the purge has ended before the daemon was killed; slow it down")
		}
		must("restart", w.restart(t.Context()))
		if err := w.restore(id); err == nil {
			t.Error("a volume was restored whose purge had begun")
		}
	}
	must("purge", w.purged())
	must("account", until("for the space to come back", func() bool { return len(w.faults(t.Context())) == 0 }))
}
