package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/engine"
)

func testDestroy(t *testing.T, w *world) {
	// A name that never was, and an item in which nothing was made.
	must(t, w.e.Destroy(t.Context(), w.items, "never", engine.Volume{}, nil))
	destroyed(t, w, w.item(t))
	// Attached, but published nowhere; with or without what is known of it.
	for _, known := range []bool{true, false} {
		it := w.volume(t)
		u := it.use(t, w.e, false)
		u.put(t, "one", "text")
		u.unmount(t)
		if !known {
			it.v = engine.Volume{}
		}
		destroyed(t, w, it)
		if d := it.left(t, w.e); len(d) > 0 {
			t.Errorf("attached after it was destroyed: %v", d)
		}
	}
	// It goes on where an earlier call was interrupted, by the same engine or the next.
	for _, e := range []engine.Engine{w.e, w.open(t, holdFor)} {
		it := w.volume(t)
		e.Known(it.dir, it.v)
		u := it.use(t, w.e, false)
		for i := range 40 {
			if !it.v.Block {
				must(t, os.WriteFile(filepath.Join(u.path, fmt.Sprint(i)), []byte("text"), 0o600))
			}
		}
		u.end(t, w.e)
		ctx, cancel := context.WithCancel(t.Context())
		limiter := rate.NewLimiter(rate.Inf, 1)
		cancel()
		if err := w.e.Destroy(ctx, w.items, it.name, it.v, limiter); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		must(t, e.Destroy(t.Context(), w.items, it.name, it.v, limiter))
		destroyed(t, w, it)
	}
}

// testDestroyHalves takes away what a crash has left of items.
func testDestroyHalves(t *testing.T, w *world) {
	for name, make := range w.Halves {
		it := w.item(t)
		make(t, it.dir, w.form)
		next := w.open(t, holdFor)
		if err := next.Detach(t.Context(), it.dir, engine.Volume{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := next.Destroy(t.Context(), w.items, it.name, engine.Volume{}, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := it.left(t, next); len(d) > 0 {
			t.Errorf("%s: devices %v", name, d)
		}
		destroyed(t, w, it)
	}
}

// testConcurrent: different items at the same time.
func testConcurrent(t *testing.T, w *world) {
	var items []*item
	for range 4 {
		items = append(items, w.item(t))
	}
	spec := w.spec(t, small)
	var all sync.WaitGroup
	for _, it := range items {
		all.Go(func() {
			ctx := context.WithoutCancel(t.Context())
			var err error
			try := func(f func() error) {
				if err == nil {
					err = f()
				}
			}
			try(func() error { it.v, err = w.e.Create(ctx, it.dir, spec, nil); return err })
			try(func() error {
				src, err := w.e.Attach(ctx, it.dir, it.v, engine.Use{})
				if err != nil {
					return err
				}
				return src.Close()
			})
			try(func() error { _, err := w.e.Usage(ctx, it.dir, it.v); return err })
			try(func() error { _, err := w.e.Inspect(ctx, it.dir, it.v, true); return err })
			try(func() error { return w.e.Detach(ctx, it.dir, it.v) })
			try(func() error {
				held, err := w.e.Hold(ctx, []engine.Source{*it.source()})
				if err != nil {
					return err
				}
				return held.Release()
			})
			try(func() error { return w.e.Destroy(ctx, w.items, it.name, it.v, nil) })
			if err != nil {
				t.Errorf("%s: %v", it.name, err)
			}
		})
	}
	all.Wait()
}
