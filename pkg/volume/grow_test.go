package volume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/directory"
	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/pool"
	"github.com/hostvol/hostvol/pkg/volume"
)

const mib = 1 << 20

// fixture is a service with one pool, which calls hook at each step.
type fixture struct {
	*volume.Service
	t    *testing.T
	dir  string
	hook func(step string)
}

func serve(t *testing.T, dir string, cfg pool.Config) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: dir}
	cfg.Name, cfg.Path, cfg.Create, cfg.Overcommit = "p", dir, true, 1
	room, err := mount.OpenRoom(filepath.Join(t.TempDir(), "room"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	s, err := volume.New(t.Context(), volume.Options{
		NodeID: "n", TopologyKey: "topology/node", KubeletDir: t.TempDir(), Room: room, Pools: []pool.Config{cfg},
		Engines: func(_ context.Context, place pool.Place) ([]engine.Engine, error) {
			e, err := directory.Open(directory.Options{Root: place.Root, Staging: place.Staging, Filesystem: place.Filesystem, Projects: directory.NewProjects()})
			return []engine.Engine{e}, err
		},
		Retention: time.Hour, HealthInterval: time.Hour, DeepInterval: time.Hour, CopyPatience: time.Hour,
		Step: func(name string) {
			if f.hook != nil {
				f.hook(name)
			}
		},
	})
	f.must(err)
	t.Cleanup(func() { f.must(s.Close()) })
	f.Service = s
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) make(name string, size int64, from volume.Content) error {
	_, err := f.Create(f.t.Context(), volume.CreateRequest{Name: name, Size: volume.Range{Required: size}, Content: from})
	return err
}

func (f *fixture) cut(name, source string) (volume.Snapshot, error) {
	return f.Snapshot(f.t.Context(), volume.SnapshotRequest{Name: name, Source: source})
}

func (f *fixture) data(id string) string { return filepath.Join(f.dir, "volumes", id, "data") }

func (f *fixture) write(id string, size int) error {
	return os.WriteFile(filepath.Join(f.data(id), "file"), make([]byte, size), 0o600)
}

// grows has the volume grow to 64 MiB, and be filled, when the next build has begun.
func (f *fixture) grows(id string, fill int) {
	f.hook = func(step string) {
		if step != "create.begun" {
			return
		}
		f.hook = nil
		_, err := f.Expand(context.Background(), id, volume.Range{Required: 64 * mib})
		if err = errors.Join(err, f.write(id, fill)); err != nil {
			f.t.Error(err)
		}
	}
}

// What a source holds only since it has grown counts against the limit of what is made of it.
func TestASourceThatGrows(t *testing.T) {
	f := serve(t, hosttest.Btrfs(t, 1024), pool.Config{})
	for _, id := range []string{"large", "little", "cut"} {
		f.must(f.make(id, 16*mib, volume.Content{}))
	}
	f.grows("large", 40*mib)
	if err := f.make("clone", 16*mib, volume.Content{Volume: "large"}); !errors.Is(err, volume.ErrExhausted) {
		t.Errorf("40 MiB in 16: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(f.dir, "volumes/clone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	f.grows("little", mib)
	f.must(f.make("clone", 16*mib, volume.Content{Volume: "little"}))
	usage, err := btrfs.ReadUsage(hosttest.Open(t, f.data("clone")))
	if f.must(err); usage.Limit != 16*mib || usage.Referenced > usage.Limit {
		t.Errorf("%+v", usage)
	}
	f.grows("cut", 40*mib)
	snapshot, err := f.cut("snap", "cut")
	if f.must(err); snapshot.Bytes != 64*mib || snapshot.Held < 40*mib {
		t.Errorf("%+v", snapshot)
	}
	if again, err := f.cut("snap", "cut"); err != nil || again.Bytes != snapshot.Bytes {
		t.Errorf("%+v %v", again, err)
	}
	if err := f.make("restored", 16*mib, volume.Content{Snapshot: "snap"}); !errors.Is(err, volume.ErrOutOfRange) {
		t.Errorf("40 MiB in 16: %v", err)
	}
	f.must(f.make("restored", 64*mib, volume.Content{Snapshot: "snap"}))
}

// A snapshot that turns out to hold more than the pool has left fails, and leaves nothing.
func TestASnapshotBeyondTheLimit(t *testing.T) {
	f := serve(t, hosttest.Ext4(t, 1024, ""), pool.Config{Limit: 180 * mib})
	f.must(f.make("vol", 16*mib, volume.Content{}))
	f.must(f.write("vol", 90*mib))
	made := 0
	for i := range 3 {
		if snapshot, err := f.cut(fmt.Sprint(i), "vol"); err == nil {
			made++
		} else if !errors.Is(err, volume.ErrExhausted) {
			t.Errorf("%+v %v", snapshot, err)
		}
		if space := f.Pools()[0].Space; space.Reserved > space.Limit || space.Reserved < 16*mib+int64(made)*90*mib {
			t.Errorf("%+v after %d snapshots", space, made)
		}
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, "staging")); made != 1 || err != nil || len(left) > 0 {
		t.Errorf("%d snapshots; left: %v %v", made, left, err)
	}
}
