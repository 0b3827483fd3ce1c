package enginetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

const (
	mib = 1 << 20
	// small is what cases ask for; an engine may make more of it.
	small = 24 * mib
	// mode, uid and gid are what a root directory is to have.
	mode, uid, gid = 0o2751, 1234, 4321
)

// pool is a pool with items, and the engine that a daemon has opened on it.
type pool struct {
	Setup
	t     *testing.T
	e     engine.Engine
	items *safepath.Dir
	count atomic.Int64
	// opening: one engine at a time is opened on a pool.
	opening sync.Mutex
}

func newPool(t *testing.T, s Setup) *pool {
	t.Helper()
	p := &pool{Setup: s, t: t}
	must(t, s.Root.Mkdir("items", 0o700))
	items, err := s.Root.OpenDir("items")
	must(t, err)
	t.Cleanup(func() { must(t, items.Close()) })
	p.items = items
	p.e = p.open(t, holdFor)
	return p
}

// open opens one more engine, as after a crash of the daemon that had opened the
// others.
func (p *pool) open(t *testing.T, limit time.Duration) engine.Engine {
	t.Helper()
	p.opening.Lock()
	defer p.opening.Unlock()
	e := p.Open(t, limit)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

// world is what a case works in.
type world struct {
	*pool
	form  engine.Form
	other func() *pool
}

// item is an item directory, and the volume in it if one was made.
type item struct {
	w    *world
	name string
	dir  *safepath.Dir
	v    engine.Volume
}

// item makes an empty item, which is destroyed when the case ends.
func (w *world) item(t *testing.T) *item {
	t.Helper()
	it := &item{w: w, name: fmt.Sprintf("i%d", w.count.Add(1))}
	must(t, w.items.Mkdir(it.name, 0o700))
	dir, err := w.items.OpenDir(it.name)
	must(t, err)
	it.dir = dir
	t.Cleanup(func() {
		ctx := context.Background()
		if err := w.e.Detach(ctx, dir, it.v); err != nil {
			t.Errorf("detach at the end: %v", err)
		}
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
		if err := w.e.Destroy(ctx, w.items, it.name, it.v, nil); err != nil {
			t.Errorf("destroy at the end: %v", err)
		}
	})
	return it
}

// size is the size of a volume of at least so many bytes.
func (w *world) size(t *testing.T, bytes int64) int64 {
	t.Helper()
	size, err := w.e.Size(bytes, w.form)
	must(t, err)
	return size
}

func (w *world) spec(t *testing.T, bytes int64) engine.Spec {
	t.Helper()
	return engine.Spec{Bytes: w.size(t, bytes), Enforce: engine.Preferred, Mode: mode, UID: uid, GID: gid, Form: w.form}
}

// volume makes an empty one.
func (w *world) volume(t *testing.T) *item {
	t.Helper()
	it := w.item(t)
	var err error
	it.v, err = w.e.Create(t.Context(), it.dir, w.spec(t, small), nil)
	must(t, err)
	return it
}

// source is what a copy of the volume is made of.
func (it *item) source() *engine.Source {
	return &engine.Source{Item: it.dir, Volume: it.v, Within: func() int64 {
		if it.v.Enforced {
			return it.v.Bytes
		}
		return 0
	}}
}

// copyOf makes a volume of a source, held as it has to be.
func (w *world) copyOf(t *testing.T, from *item, bytes int64) *item {
	t.Helper()
	held, err := w.e.Hold(t.Context(), []engine.Source{*from.source()})
	must(t, err)
	it := w.item(t)
	src := from.source()
	src.Live = held.Live
	it.v, err = w.e.Create(t.Context(), it.dir, w.spec(t, bytes), src)
	must(t, err)
	must(t, held.Release())
	return it
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
