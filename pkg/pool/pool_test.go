package pool_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/directory"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fixture is a pool with the directory engine, on a plain directory.
type fixture struct {
	*pool.Pool
	dir   string
	steps []string
}

func open(t *testing.T, dir string) *fixture {
	t.Helper()
	return openLimited(t, dir, 0)
}

func openLimited(t *testing.T, dir string, limit int64) *fixture {
	t.Helper()
	f := &fixture{dir: dir}
	var err error
	f.Pool, err = pool.Open(t.Context(), pool.Config{Name: "p", Path: dir, Limit: limit, Overcommit: 1, Create: true}, pool.Options{
		Engines: func(_ context.Context, place pool.Place) ([]engine.Engine, error) {
			e, err := directory.Open(directory.Options{Root: place.Root, Staging: place.Staging, Filesystem: "plain", Projects: directory.NewProjects()})
			return []engine.Engine{e}, err
		},
		Room: room(t),
		Step: func(name string) { f.steps = append(f.steps, name) },
	})
	must(t, err)
	return f
}

func record(id string, size int64) pool.Record {
	return pool.Record{ID: id, Engine: directory.Name, Volume: engine.Volume{Bytes: size}, Born: size, Enforce: engine.Preferred, Created: time.Now()}
}

func (f *fixture) build(ctx context.Context, id string) error {
	_, err := f.Build(ctx, record(id, 1<<20), func(ctx context.Context, item *safepath.Dir, rec pool.Record) (pool.Record, error) {
		var err error
		rec.Volume, err = f.Engine(directory.Name).Create(ctx, item, engine.Spec{Bytes: 1 << 20, Enforce: engine.None, Mode: 0o700}, nil)
		return rec, err
	})
	return err
}

func (f *fixture) reserved(t *testing.T) int64 {
	t.Helper()
	s, err := f.Space()
	must(t, err)
	return s.Reserved
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestLifeInAPool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	f := open(t, dir)
	must(t, f.build(t.Context(), "a"))
	if want := []string{"create.begun", "create.built", "create.staged", "create.renamed", "create.durable"}; !slices.Equal(f.steps, want) {
		t.Errorf("steps %v, want %v", f.steps, want)
	}
	if err := f.build(t.Context(), "a"); !errors.Is(err, pool.ErrExists) {
		t.Errorf("again: %v", err)
	}
	if f.reserved(t) != 1<<20 {
		t.Errorf("%d reserved", f.reserved(t))
	}
	must(t, f.Discard("a"))
	if err := f.Discard("a"); !errors.Is(err, pool.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if f.reserved(t) != 1<<20 {
		t.Errorf("%d reserved with the trash", f.reserved(t))
	}
	uuid := f.UUID()
	must(t, f.Close())

	f = open(t, dir)
	if f.UUID() != uuid {
		t.Errorf("UUID %s, before %s", f.UUID(), uuid)
	}
	trash := f.Trash()
	if len(trash) != 1 || trash[0].Record.ID != "a" {
		t.Fatalf("%+v", trash)
	}
	_, err := f.Restore(trash[0].Name)
	must(t, err)
	if _, err := f.Restore(trash[0].Name); !errors.Is(err, pool.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	must(t, f.Discard("a"))
	must(t, f.Purge(t.Context(), f.Trash()[0].Name, nil))
	if f.reserved(t) != 0 || len(f.Trash()) != 0 || f.Len() != 0 {
		t.Errorf("%d reserved, trash %v, %d volumes", f.reserved(t), f.Trash(), f.Len())
	}
	must(t, f.Close())
}

func TestABuildThatFailsLeavesNothing(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	broken := errors.New("broken")
	_, err := f.Build(t.Context(), record("a", 1<<20), func(ctx context.Context, item *safepath.Dir, rec pool.Record) (pool.Record, error) {
		var err error
		rec.Volume, err = f.Engine(directory.Name).Create(ctx, item, engine.Spec{Bytes: 1 << 20, Enforce: engine.None, Mode: 0o700}, nil)
		return rec, errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if left := entries(t, filepath.Join(f.dir, "staging")); len(left) > 0 || f.reserved(t) != 0 || f.Len() != 0 {
		t.Errorf("left: %v, %d reserved, %d volumes", left, f.reserved(t), f.Len())
	}
	must(t, f.build(t.Context(), "a"))
	must(t, f.Close())
}

func TestARecordThatDoesNotFitLeavesNothing(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	rec := record("a", 1<<20)
	rec.Name = strings.Repeat("x", 4096)
	_, err := f.Build(t.Context(), rec, func(ctx context.Context, item *safepath.Dir, rec pool.Record) (pool.Record, error) {
		var err error
		rec.Volume, err = f.Engine(directory.Name).Create(ctx, item, engine.Spec{Bytes: 1 << 20, Enforce: engine.None, Mode: 0o700}, nil)
		return rec, err
	})
	if err == nil {
		t.Error("built")
	}
	if left := entries(t, filepath.Join(f.dir, "staging")); len(left) > 0 || f.reserved(t) != 0 {
		t.Errorf("left: %v, %d reserved", left, f.reserved(t))
	}
	must(t, f.Close())
}

// What is in volumes/ already is never replaced, known or not.
func TestABuildReplacesNothing(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	kept := filepath.Join(f.dir, "volumes/a/kept")
	must(t, os.MkdirAll(filepath.Dir(kept), 0o700))
	must(t, os.WriteFile(kept, nil, 0o600))
	if err := f.build(t.Context(), "a"); !errors.Is(err, pool.ErrExists) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	must(t, f.Close())
}

func TestRestoreReplacesNothing(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	must(t, f.build(t.Context(), "a"))
	must(t, f.Discard("a"))
	must(t, f.build(t.Context(), "a"))
	if _, err := f.Restore(f.Trash()[0].Name); !errors.Is(err, pool.ErrExists) {
		t.Errorf("%v", err)
	}
	must(t, f.Discard("a"))
	must(t, os.Mkdir(filepath.Join(f.dir, "volumes/a"), 0o700)) // which the index does not know
	if _, err := f.Restore(f.Trash()[0].Name); !errors.Is(err, pool.ErrExists) {
		t.Errorf("%v", err)
	}
	if len(f.Trash()) != 2 || f.reserved(t) != 2<<20 {
		t.Errorf("%+v, %d reserved", f.Trash(), f.reserved(t))
	}
	must(t, f.Close())
}

func room(t *testing.T) *mount.Room {
	t.Helper()
	r, err := mount.OpenRoom(filepath.Join(t.TempDir(), "room"))
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

func TestAPoolHasOneOwner(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	_, err := pool.Open(t.Context(), pool.Config{Name: "p", Path: f.dir, Overcommit: 1}, pool.Options{Room: room(t)})
	if !errors.Is(err, safepath.ErrLocked) {
		t.Errorf("%v", err)
	}
	must(t, f.build(t.Context(), "a")) // the first goes on
	must(t, f.Close())
	must(t, open(t, f.dir).Close())
}

func TestAQuarantinedVolumeKeepsItsSpace(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	must(t, f.build(t.Context(), "a"))
	f.Quarantine("a", errors.New("why"))
	f.Quarantine("a", errors.New("why"))
	if _, err := f.Get("a"); !errors.Is(err, pool.ErrQuarantine) {
		t.Errorf("%v", err)
	}
	if err := f.Discard("a"); !errors.Is(err, pool.ErrQuarantine) {
		t.Errorf("%v", err)
	}
	if f.reserved(t) != 1<<20 || f.Len() != 0 || len(f.Quarantined()) != 1 {
		t.Errorf("%d reserved, %d volumes, %v", f.reserved(t), f.Len(), f.Quarantined())
	}
	must(t, f.Close())
}

func TestAfter(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	for _, id := range []string{"b", "a", "d", "c"} {
		must(t, f.build(t.Context(), id))
	}
	for _, c := range []struct {
		after string
		n     int
		want  string
	}{
		{"", 0, "a b c d"}, {"", 2, "a b"}, {"b", 0, "c d"}, {"b", 1, "c"}, {"bb", 1, "c"}, {"d", 5, ""},
	} {
		var got []string
		for _, rec := range f.After(c.after, c.n) {
			got = append(got, rec.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("after %q, %d: %v, want %s", c.after, c.n, got, c.want)
		}
	}
	must(t, f.Close())
}

func TestSelect(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	for _, id := range []string{"a", "b", "c", "d"} {
		must(t, f.build(t.Context(), id))
	}
	got := f.Select("a", 2, func(r pool.Record) bool { return r.ID != "c" })
	if len(got) != 2 || got[0].ID != "b" || got[1].ID != "d" {
		t.Errorf("%v", got)
	}
	must(t, f.Close())
}

// What is removed cannot be restored, neither before nor after a restart.
func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	f := open(t, dir)
	must(t, f.build(t.Context(), "a"))
	must(t, f.Remove("a"))
	if err := f.Remove("a"); !errors.Is(err, pool.ErrNotFound) {
		t.Errorf("%v", err)
	}
	for range 2 {
		e := f.Trash()
		if len(e) != 1 || !e[0].Begun || f.reserved(t) != 1<<20 {
			t.Fatalf("%+v, %d reserved", e, f.reserved(t))
		}
		if _, err := f.Restore(e[0].Name); !errors.Is(err, pool.ErrPurging) {
			t.Errorf("%v", err)
		}
		must(t, f.Close())
		f = open(t, dir)
	}
	must(t, f.Purge(t.Context(), f.Trash()[0].Name, nil))
	if len(f.Trash()) != 0 || f.reserved(t) != 0 {
		t.Errorf("%+v, %d reserved", f.Trash(), f.reserved(t))
	}
	must(t, f.Close())
}

// A snapshot may turn out to hold more than was reckoned, but not more than there is.
func TestASnapshotThatHoldsMore(t *testing.T) {
	f := openLimited(t, filepath.Join(t.TempDir(), "pool"), 100<<20)
	must(t, f.build(t.Context(), "a"))
	cut := func(id string, held int64) error {
		rec := record(id, 1<<20)
		rec.Snapshot = &pool.Snapshot{Of: "a", Held: 1 << 20}
		_, err := f.Build(t.Context(), rec, func(_ context.Context, item *safepath.Dir, rec pool.Record) (pool.Record, error) {
			rec.Snapshot = &pool.Snapshot{Of: "a", Held: held}
			return rec, item.Mkdir("data", 0o700)
		})
		return err
	}
	must(t, cut("more", 60<<20))
	must(t, cut("less", 1<<10))
	before := f.reserved(t)
	if before != 61<<20+1<<10 {
		t.Errorf("%d reserved", before)
	}
	if err := cut("much", 60<<20); !errors.Is(err, pool.ErrNoSpace) {
		t.Errorf("%v", err)
	}
	if err := cut("huge", 200<<20); !errors.Is(err, pool.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if left := entries(t, filepath.Join(f.dir, "staging")); len(left) > 0 || f.reserved(t) != before || f.SnapshotCount() != 2 {
		t.Errorf("left: %v, %d reserved, %d snapshots", left, f.reserved(t), f.SnapshotCount())
	}
	must(t, f.Close())
	f = openLimited(t, f.dir, 100<<20)
	if f.reserved(t) != before {
		t.Errorf("%d reserved after a restart, %d before", f.reserved(t), before)
	}
	must(t, f.Close())
}

func TestABuildThatPanicsLeavesNothing(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "pool"))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = f.Build(t.Context(), record("a", 1<<20), func(_ context.Context, item *safepath.Dir, _ pool.Record) (pool.Record, error) {
			must(t, item.Mkdir("data", 0o700))
			panic("broken")
		})
	}()
	if left := entries(t, filepath.Join(f.dir, "staging")); len(left) > 0 || f.reserved(t) != 0 || f.Len() != 0 {
		t.Errorf("left: %v, %d reserved, %d volumes", left, f.reserved(t), f.Len())
	}
	must(t, f.build(t.Context(), "a"))
	must(t, f.Close())
}
