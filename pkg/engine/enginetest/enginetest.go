// Package enginetest is the conformance suite of package engine: what the contract
// promises, tried on a real pool by the calls of the contract alone. Every engine
// runs it on each filesystem that its pools may lie on; a fault that is found
// starts as a case here.
//
// It knows no engine. What engines differ in by design a Setup says; all else a
// case has to allow for in general (an engine that holds nothing, attaches nothing
// or does not limit), and then looks whether what the engine says is true.
//
// It needs root and a private mount namespace, and must be imported by tests only.
package enginetest

import (
	"sync"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Setup is an engine on an empty pool, and what it is made for.
type Setup struct {
	// Root is the pool's directory.
	Root *safepath.Dir
	// Open opens the engine on the pool, as a daemon does that has just started. Hold
	// holds for that long at most, where that has an end. The suite closes it.
	Open func(t testing.TB, limit time.Duration) engine.Engine
	// Forms are the volumes that the engine makes, Refused some that it does not.
	Forms, Refused []engine.Form
	// Adopts tells that Import takes directories over.
	Adopts bool
	// Options are mount options that a volume of a form takes; nil where it takes none.
	Options func(engine.Form) []string
	// Lose takes a volume's content away behind the engine's back.
	Lose func(t testing.TB, item *safepath.Dir)
	// Halves are what a crash may leave of an item that is being built.
	Halves map[string]func(t testing.TB, item *safepath.Dir, form engine.Form)
	// Nest makes something in a volume's directory that excludes a snapshot; nil where
	// there is nothing of the kind.
	Nest func(t testing.TB, dir string)
}

// holdFor is how long cases may hold a volume.
const holdFor = 20 * time.Second

// Run tries the engine of a Setup. open is called twice, for pools on filesystems
// of their own; what it makes is undone by the test's Cleanup.
func Run(t *testing.T, open func(t *testing.T) Setup) {
	t.Helper()
	p := newPool(t, open(t))
	other := sync.OnceValue(func() *pool { return newPool(t, open(t)) })
	t.Run("engine", func(t *testing.T) { testEngine(t, p) })
	for _, form := range p.Forms {
		t.Run(nameOf(form), func(t *testing.T) {
			t.Parallel()
			w := &world{pool: p, form: form, other: other}
			for _, c := range cases(p.Setup) {
				t.Run(c.name, func(t *testing.T) { c.run(t, w) })
			}
		})
	}
}

type testCase struct {
	name string
	run  func(*testing.T, *world)
}

func cases(s Setup) []testCase {
	all := []testCase{
		{"create", testCreate},
		{"enforce", testEnforce},
		{"create from a volume", testCreateFrom},
		{"create from elsewhere", testCreateFromElsewhere},
		{"create that fails", testCreateFails},
		{"hold one", testHoldOne},
		{"hold several", testHoldSeveral},
		{"hold an unused one", testHoldUnused},
		{"hold for too long", testHoldTooLong},
		{"snapshot", testSnapshot},
		{"snapshot of a writer", testSnapshotOfAWriter},
		{"import", testImport},
		{"export", testExport},
		{"apply", testApply},
		{"apply while it is used", testApplyInUse},
		{"known", testKnown},
		{"attach", testAttach},
		{"attach read-only", testAttachReadOnly},
		{"attach with options", testAttachOptions},
		{"detach", testDetach},
		{"usage", testUsage},
		{"inspect", testInspect},
		{"destroy", testDestroy},
		{"destroy halves", testDestroyHalves},
		{"killed while attached", testKilledAttached},
		{"killed while held", testKilledHeld},
		{"close", testClose},
		{"many at once", testConcurrent},
	}
	if s.Nest != nil {
		all = append(all, testCase{"snapshot of what is nested", testSnapshotNested})
	}
	return all
}

func nameOf(f engine.Form) string {
	name := f.FSType
	switch {
	case f.Block:
		name = "block"
	case name == "":
		name = "directory"
	}
	if f.Thick {
		name += " thick"
	}
	return name
}
