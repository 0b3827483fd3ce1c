package crash

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// TestSteps kills the daemon at every durable step of every operation. All cases of a filesystem share a pool,
// so what was acknowledged in one must stand all later deaths.
func TestSteps(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fs := newFilesystem(t, kind)
			w := newWorld(t, fs, nil)
			found := map[string]int{}
			for _, op := range operations() {
				if op.only != "" && op.only != kind {
					continue
				}
				for _, step := range op.steps {
					ok := t.Run(op.name+" "+step, func(t *testing.T) {
						c := crashCase{t: t, w: w, op: op, id: w.newID()}
						outcome := c.run(step)
						t.Log("found", outcome)
						found[outcome]++
					})
					if !ok { // the next case gets a pool of its own
						w = newWorld(t, fs, nil)
					}
				}
			}
			t.Logf("unacknowledged operations found after the restart: %v", found)
		})
	}
}

// crashCase is one death.
type crashCase struct {
	t  *testing.T
	w  *world
	op operation
	id string
}

// run tells whether the operation was found whole or absent.
func (c crashCase) run(step string) string {
	if c.op.prepare != nil {
		c.must("prepare", c.op.prepare(c.w, c.id))
	}
	before, after, parts := c.view(), c.view(), c.parts()
	c.op.effect(c.w, after, c.id)

	c.must("order", c.w.orderDeath(step, 1))
	err := c.op.run(c.w, c.id)
	later := slices.Contains(c.op.later, step)
	if !later && (err == nil || !carriedOut(c.w.dir)) {
		c.t.Fatalf("the daemon did not die at %s but answered: %v", step, err)
	}
	c.must("die at "+step, c.w.died())
	c.offline()
	c.must("restart", c.w.restart(c.t.Context()))

	c.clean("after the restart")
	found, outcome := c.view(), "whole"
	switch {
	case found.equal(after):
	case found.equal(before):
		outcome = "absent"
	case slices.ContainsFunc(parts, found.equal):
		outcome = "begun"
	default:
		c.t.Fatalf("the operation is neither whole nor absent; it is\n%+v\nbefore\n%+v\nwhole\n%+v", found, before, after)
	}
	acknowledged := after
	acknowledged.Trash = found.Trash // from which the background removes
	if err == nil && !found.equal(acknowledged) {
		c.t.Fatalf("the operation was acknowledged, and there is\n%+v\nnot\n%+v", found, after)
	}
	if outcome != "whole" || c.op.repeatable {
		again := c.op.run
		if c.op.repeat != nil {
			again = c.op.repeat
		}
		c.must("repeat", again(c.w, c.id))
	}
	if found := c.view(); !found.equal(after) {
		c.t.Fatalf("after the repeat there is\n%+v\nnot\n%+v", found, after)
	}
	c.clean("after the repeat")
	c.must("purge", c.w.purge())
	c.must("purge", c.w.purged())
	c.clean("after the purge")
	return outcome
}

// parts are views with parts of the operation.
func (c crashCase) parts() (out []view) {
	c.t.Helper()
	for _, change := range c.op.between {
		v := c.view()
		change(c.w, v, c.id)
		out = append(out, v)
	}
	return out
}

// offline checks the pool as the dead daemon left it.
func (c crashCase) offline() {
	faults, err := c.w.checkOffline(c.t.Context())
	c.must("check offline", err)
	for _, f := range faults {
		if !slices.Contains(c.op.passing, f.Reason) {
			c.t.Errorf("check offline: %+v", f)
		}
	}
}

func (c crashCase) clean(when string) {
	c.t.Helper()
	for _, fault := range c.w.settled(c.t.Context(), func() []string { return c.w.faults(c.t.Context()) }) {
		c.t.Errorf("%s: %s", when, fault)
	}
}

func (c crashCase) must(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(fmt.Errorf("%s: %w", what, err))
	}
}

func (c crashCase) view() view {
	c.t.Helper()
	v, err := c.w.view()
	c.must("view", err)
	return v
}

func (v view) equal(other view) bool { return reflect.DeepEqual(v, other) }
