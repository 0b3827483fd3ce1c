package install_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/flex/install"
)

// It repairs what others do, also where they put something of theirs, and leaves the
// drivers at its end.
func TestKeep(t *testing.T) {
	dir := place(t)
	exe := filepath.Join(dir, "hostvol~local/local")
	i := installer(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- i.Keep(ctx, 10*time.Millisecond) }()
	there := func() bool {
		info, err := os.Lstat(exe)
		return err == nil && info.Mode() == 0o755 && info.Size() > 1<<20
	}
	eventually(t, "installed", there)
	must(t, os.Rename(filepath.Dir(exe), kubeletOf(dir)+"/gone"))
	eventually(t, "installed again", there)
	must(t, errors.Join(os.WriteFile(exe+".x", []byte(script), 0o755), os.Rename(exe+".x", exe)))
	eventually(t, "theirs replaced", there)
	cancel()
	must(t, <-ended)
	must(t, os.Remove(filepath.Join(filepath.Dir(exe), ".local.replaced")))
	whole(t, dir, "local", i.Program)
}

// What cannot be installed in the first place ends it, as does a plugin directory
// that is gone.
func TestKeepEnds(t *testing.T) {
	dir := place(t)
	must(t, os.WriteFile(filepath.Join(dir, "hostvol~local"), nil, 0o644))
	if err := installer(t, dir).Keep(t.Context(), time.Millisecond); !errors.Is(err, install.ErrForeign) {
		t.Error(err)
	}
	// As a container has it: a mount of a directory that was removed then.
	of := filepath.Join(filepath.Dir(dir), "of")
	must(t, os.Mkdir(of, 0o755))
	must(t, unix.Mount(of, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	ended := make(chan error)
	i := installer(t, dir)
	go func() { ended <- i.Keep(t.Context(), 10*time.Millisecond) }()
	eventually(t, "installed", func() bool { _, err := os.Stat(filepath.Join(of, "hostvol~local/local")); return err == nil })
	must(t, os.RemoveAll(of))
	if err := <-ended; !errors.Is(err, install.ErrRemoved) {
		t.Error(err)
	}
}

// It uninstalls as soon as nothing is in the way.
func TestRemove(t *testing.T) {
	dir := place(t)
	i := installer(t, dir)
	installed(t, i)
	target := filepath.Join(kubeletOf(dir), "pods/1/volumes/hostvol~local/data")
	unmount := mounted(t, target)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := i.Remove(short, 10*time.Millisecond); !errors.Is(err, install.ErrMounted) {
		t.Error(err)
	}
	whole(t, dir, "local", i.Program)
	ended := make(chan error)
	go func() { ended <- i.Remove(t.Context(), 10*time.Millisecond) }()
	unmount()
	must(t, <-ended)
	if got := entries(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}
