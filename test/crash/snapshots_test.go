package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// ofID is the id of a volume's snapshot, copyID that of the volume made of either.
func ofID(id string) string   { return id + "-s" }
func copyID(id string) string { return id + "-c" }

// snapshotted makes a volume with content and a snapshot of it.
func snapshotted(w *world, id string) error {
	return errors.Join(filled(w, id), w.snapshot(ofID(id), id))
}

// snapshotOf is how such a snapshot looks on the disk.
func snapshotOf(id string) seen { return seen{Bytes: small, Of: id, Files: content(id)} }

// copied is how a volume looks that has started with the content of the volume id.
func (w *world) copied(bytes int64, from, id string) seen {
	s := w.volume(bytes, content(id))
	s.From = from
	return s
}

// TestCopy kills the daemon at random moments of a walk through many files. Nothing is left of it, and the volume that
// was copied is as it was.
func TestCopy(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} { // by copying and by reflinks
		t.Run(kind, func(t *testing.T) { dieInCopies(t, newWorld(t, newFilesystem(t, kind), nil)) })
	}
}

func dieInCopies(t *testing.T, w *world) {
	const files = 2000
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	many := map[string]string{}
	for i := range files {
		many[fmt.Sprintf("%d/%d", i%37, i)] = fmt.Sprint(i)
	}
	must("create", w.create("v", large))
	must("fill", write(w.data("v"), many))
	begun := time.Now()
	must("snapshot", w.snapshot("whole", "v"))
	takes := time.Since(begun)

	deaths, middle := 0, 0
	for i := 0; i < 6 || i < 30 && middle == 0; i++ {
		deaths++
		id := fmt.Sprintf("s%d", i)
		answer := make(chan error, 1)
		go func() {
			if i%2 == 0 {
				answer <- w.snapshot(id, "v")
			} else {
				answer <- w.clone(id, large, ofSnapshot("whole"))
			}
		}()
		must("copy", until("for the copy to begin", func() bool { return len(names(filepath.Join(w.pool, "staging"))) > 0 || len(answer) > 0 }))
		time.Sleep(rand.N(takes))
		must("kill", w.daemon.Kill())
		acknowledged := <-answer == nil
		after := takes
		if acknowledged { // a pause may have made the measured time too long
			takes = max(takes/2, 1)
		}
		if staged := names(filepath.Join(w.pool, "staging")); len(staged) > 0 {
			middle++
		}
		must("restart", w.restart(t.Context()))
		for _, fault := range w.faults(t.Context()) {
			t.Errorf("killed within %v: %s", after, fault)
		}
		v, err := w.view()
		must("view", err)
		made, there := v.Snapshots[id]
		if i%2 == 1 {
			made, there = v.Volumes[id]
		}
		if acknowledged && !there || there && len(made.Files) != files {
			t.Errorf("%s: acknowledged %v, there %v with %d files", id, acknowledged, there, len(made.Files))
		}
		if len(v.Volumes["v"].Files) != files || len(v.Snapshots["whole"].Files) != files {
			t.Fatalf("the source has %d files, its snapshot %d", len(v.Volumes["v"].Files), len(v.Snapshots["whole"].Files))
		}
		if i%2 == 0 {
			must("repeat", w.snapshot(id, "v"))
			must("delete", w.deleteSnapshot(id))
		} else {
			must("repeat", w.clone(id, large, ofSnapshot("whole")))
			must("delete", w.delete(id))
		}
		must("purge", w.purge())
	}
	t.Logf("killed in the middle %d times of %d; a copy takes %v", middle, deaths, takes)
	if middle == 0 {
		t.Error("no death was in the middle of a copy")
	}
	if left := names(filepath.Join(w.pool, "snapshots")); len(left) != 1 {
		t.Errorf("snapshots: %v", left)
	}
}
