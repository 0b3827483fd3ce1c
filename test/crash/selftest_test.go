package crash

import (
	"errors"
	"strings"
	"testing"
)

// TestOracle plants faults and wants each one to be found, and nothing before and after.
func TestOracle(t *testing.T) {
	w := newWorld(t, newFilesystem(t, "btrfs"), nil)
	e := &entry{id: w.newID()}
	of := snapshotOf(e.id)
	e.now = state{Exists: true, Published: true, Bytes: small, Files: content(e.id), Snapshot: &of}
	if err := errors.Join(snapshotted(w, e.id), w.publish(e.id), deleted(w, w.newID())); err != nil {
		t.Fatal(err)
	}
	look := func() string {
		faults := w.faults(t.Context())
		if v, err := w.view(); err == nil {
			faults = append(faults, ledger{e}.faults(w, v)...)
		}
		return strings.Join(faults, "\n")
	}
	for _, p := range plants() {
		t.Run(p.name, func(t *testing.T) {
			if found := look(); found != "" {
				t.Fatalf("before: %s", found)
			}
			undo, err := p.do(w, e)
			if err != nil {
				t.Fatal(err)
			}
			found := look()
			if err := undo(); err != nil {
				t.Fatal(err)
			}
			for _, want := range p.find {
				if !strings.Contains(found, want) {
					t.Errorf("%q is not among what was found:\n%s", want, found)
				}
			}
			t.Logf("found:\n%s", found)
		})
	}
	if found := look(); found != "" {
		t.Errorf("after: %s", found)
	}
}
