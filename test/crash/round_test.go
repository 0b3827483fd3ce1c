package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// restart starts the daemon, which in one of three cases is killed before it is ready.
func (l *load) restart(ctx context.Context) error {
	for rand.IntN(3) == 0 {
		l.w.orders++
		moment := order{After: 1 + rand.N(l.w.daemon.Startup), Serial: l.w.orders}
		if err := moment.give(l.w.dir); err != nil {
			return err
		}
		err := l.w.daemon.Restart(ctx)
		if err != nil && !carriedOut(l.w.dir) {
			return fmt.Errorf("restart: %w", err)
		}
		if err := errors.Join(l.w.daemon.Kill(), withdraw(l.w.dir)); err != nil {
			return err
		}
		l.count(l.kills, "at the start")
	}
	return l.w.restart(ctx)
}

// verify compares the pool with the ledger, and resolves what was not acknowledged.
func (l *load) verify(t *testing.T) {
	t.Helper()
	all := l.ledger()
	var v view
	for _, fault := range l.w.settled(t.Context(), func() []string {
		var err error
		faults := l.w.faults(t.Context())
		if v, err = l.w.view(); err != nil {
			return append(faults, err.Error())
		}
		return append(faults, all.faults(l.w, v)...)
	}) {
		t.Error(fault)
	}
	if t.Failed() {
		return
	}
	for _, e := range all {
		if e.asked == nil {
			continue
		}
		name := e.asked.name
		if e.resolve(l.w, v) == "whole" {
			l.count(l.whole, name)
		} else {
			l.count(l.absent, name)
		}
	}
}

// end takes everything away by the ordinary calls; nothing may be left.
func (l *load) end(t *testing.T) {
	for _, e := range l.ledger() {
		if err := errors.Join(l.w.unpublish(e.id), l.w.delete(e.id), l.w.deleteSnapshot(ofID(e.id))); err != nil {
			t.Error(err)
		}
		e.now, e.asked = state{ID: e.id}, nil
	}
	if err := l.w.purged(); err != nil {
		t.Error(err)
	}
	l.verify(t)
	if l.w.fs.kind == "btrfs" {
		if err := l.w.noStaleQgroups(); err != nil {
			t.Error(err)
		}
	}
}
