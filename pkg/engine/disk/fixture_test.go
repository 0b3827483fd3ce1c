package disk_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/engine/enginetest"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

const mib = 1 << 20

// fixture is one volume in a pool of its own, and a person who does what he likes.
type fixture struct {
	t     *testing.T
	setup enginetest.Setup
	e     engine.Engine
	item  *safepath.Dir
	v     engine.Volume
	image string
	items []*safepath.Dir
}

func one(t *testing.T, pool string, form engine.Form, bytes int64, mkfs ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, setup: setup(t, pool)}
	f.e = f.open(0)
	f.item = f.mkdir("item")
	f.image = filepath.Join(pool, "item", "image")
	var err error
	f.v, err = f.e.Create(t.Context(), f.item, engine.Spec{Bytes: bytes, Mode: 0o777, Form: form, MkfsOptions: mkfs}, nil)
	must(t, err)
	t.Cleanup(func() {
		must(t, f.e.Detach(context.Background(), f.item, f.v))
		for _, item := range f.items {
			must(t, item.Close())
		}
	})
	return f
}

func (f *fixture) mkdir(name string) *safepath.Dir {
	f.t.Helper()
	must(f.t, f.setup.Root.Mkdir(name, 0o700))
	item, err := f.setup.Root.OpenDir(name)
	must(f.t, err)
	f.items = append(f.items, item)
	return item
}

func (f *fixture) open(limit time.Duration) engine.Engine {
	f.t.Helper()
	if limit == 0 {
		limit = 20 * time.Second
	}
	e := f.setup.Open(f.t, limit)
	f.t.Cleanup(func() { must(f.t, e.Close()) })
	return e
}

// restart is a kill of the engine, and a start of the next.
func (f *fixture) restart() {
	f.t.Helper()
	must(f.t, f.e.Close())
	f.e = f.open(0)
	f.e.Known(f.item, f.v)
}

func (f *fixture) attach(use engine.Use) error {
	src, err := f.e.Attach(f.t.Context(), f.item, f.v, use)
	return errors.Join(err, src.Close())
}

// publish mounts the volume on a target.
func (f *fixture) publish() (target string) {
	f.t.Helper()
	src, err := f.e.Attach(f.t.Context(), f.item, f.v, engine.Use{})
	must(f.t, err)
	defer src.Close() //nolint:errcheck // mounted by then
	dir := f.t.TempDir()
	target = filepath.Join(dir, "m")
	must(f.t, os.Mkdir(target, 0o755))
	parent, err := safepath.OpenRoot(dir)
	must(f.t, err)
	defer parent.Close()
	must(f.t, src.Mount(parent, "m", mount.Flags{}))
	f.t.Cleanup(func() { f.unmount(target) })
	return target
}

func (f *fixture) unmount(target string) {
	f.t.Helper()
	parent, err := safepath.OpenRoot(filepath.Dir(target))
	must(f.t, err)
	defer parent.Close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := mount.Unmount(parent, filepath.Base(target))
		if !errno.Busy(err) || time.Now().After(end) {
			must(f.t, err)
			return
		}
	}
}

func (f *fixture) inspect(reasons ...string) {
	f.t.Helper()
	found, err := f.e.Inspect(f.t.Context(), f.item, f.v, false)
	must(f.t, err)
	var have []string
	for _, p := range found {
		have = append(have, p.Reason)
	}
	if strings.Join(have, " ") != strings.Join(reasons, " ") {
		f.t.Errorf("found %+v, want %v", found, reasons)
	}
}

func (f *fixture) detach() {
	f.t.Helper()
	must(f.t, f.e.Detach(f.t.Context(), f.item, f.v))
	if left := sh(f.t, "losetup -nO NAME -j "+f.image); left != "" {
		f.t.Errorf("devices are left: %s", left)
	}
}

func (f *fixture) sum() [32]byte {
	f.t.Helper()
	b, err := os.ReadFile(f.image)
	must(f.t, err)
	return sha256.Sum256(b)
}

// sh runs what a person types.
func sh(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// losetup attaches the image as a person does.
func (f *fixture) losetup(args string) string {
	f.t.Helper()
	device := sh(f.t, "losetup -f --show "+args+" "+f.image)
	f.t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() })
	return device
}

func is(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v lacks %q", err, w)
		}
	}
}

func isText(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, []byte(want)) {
		t.Errorf("%s holds %q, want %q: %v", path, got, want, err)
	}
}
