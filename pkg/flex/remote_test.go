package flex

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hostvol/hostvol/pkg/host/run"
)

func TestMain(m *testing.M) {
	if code, is := run.Guard(os.Args); is {
		os.Exit(code)
	}
	if code, is := TakeOff(os.Args, os.Stderr); is {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// place is a target of a kubelet's directory, opened anew for each call.
type place struct {
	testing.TB
	targets Targets
	path    string
}

func newPlace(t testing.TB) place {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "pods/uid/volumes/hostvol~nfs/v")
	must(t, os.MkdirAll(path, 0o750))
	return place{t, Targets{KubeletDir: dir, Driver: "hostvol~nfs"}, path}
}

func (p place) with(f func(*Target) error) error {
	p.Helper()
	target, err := p.targets.open(context.Background(), p.path)
	must(p, err)
	defer target.close()
	return f(target)
}

func (p place) mount(r Remote) error {
	return p.with(func(t *Target) error { return r.Mount(p.Context(), t) })
}

func (p place) clear() error {
	return p.with(func(t *Target) error { return t.Clear(context.Background()) }) // a cleanup, too
}

func (p place) layers() (n int) {
	p.Helper()
	must(p, p.with(func(t *Target) error {
		layers, err := t.Layers()
		n = len(layers)
		return err
	}))
	return n
}

func tmpfs(source string) Remote { return Remote{Types: []string{"tmpfs"}, Source: source} }

// With mount(8) itself, and a filesystem that every kernel has.
func TestRemote(t *testing.T) {
	p := newPlace(t)
	t.Cleanup(func() { _ = p.clear() })
	r := tmpfs("server:/a b")
	must(t, p.mount(r), p.mount(r), p.mount(tmpfs("server:/a b/")))
	must(t, os.WriteFile(p.path+"/file", nil, 0o600))
	readOnly := r
	readOnly.ReadOnly = true
	for what, other := range map[string]Remote{"something else": tmpfs("server:/a b2"), "already": readOnly} {
		if err := p.mount(other); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v", err)
		}
	}
	if n := p.layers(); n != 1 {
		t.Errorf("%d layers", n)
	}
	must(t, p.clear(), p.clear(), p.mount(readOnly))
	if err := os.WriteFile(p.path+"/file", nil, 0o600); err == nil {
		t.Error("it is writable")
	}
	if n := p.layers(); n != 1 {
		t.Errorf("%d layers", n)
	}
	must(t, p.clear())
	if err := p.mount(Remote{Types: []string{"tmpfs"}, Source: "x", Options: []string{"size=wrong"}}); err == nil || p.layers() != 0 {
		t.Errorf("%v, %d layers", err, p.layers())
	}
}

func TestRemoteTogether(t *testing.T) {
	p := newPlace(t)
	t.Cleanup(func() { _ = p.clear() })
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = p.mount(tmpfs("one")) })
	}
	all.Wait()
	must(t, errs...)
	if n := p.layers(); n != 1 {
		t.Errorf("%d layers", n)
	}
}

func TestClearInUse(t *testing.T) {
	p := newPlace(t)
	must(t, p.mount(tmpfs("one")), exec.Command("mount", "-t", "tmpfs", "two", p.path).Run())
	f, err := os.Create(p.path + "/file")
	must(t, err)
	if err := p.clear(); err == nil || !strings.Contains(err.Error(), "in use") || p.layers() != 2 {
		t.Errorf("%v, %d layers", err, p.layers())
	}
	must(t, f.Close(), p.clear())
	if n := p.layers(); n != 0 {
		t.Errorf("%d layers", n)
	}
}

func TestPick(t *testing.T) {
	o := Options{Values: map[string]string{"SERVER": "a", "opts": " b "}}
	got, err := o.Pick("server", "share", "mountOptions|opts")
	must(t, err)
	if !slices.Equal(got, []string{"a", "", " b "}) {
		t.Errorf("%q", got)
	}
	if _, err := o.Pick("server"); err == nil {
		t.Error("an unknown option was taken")
	}
}

func TestMessages(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("pä$$\n"))
	secrets := map[string]Secret{"password": Secret("pä$$\n"), "one": Secret("a")}
	if got := scrub("cannot use pä$$ or "+encoded+", a", secrets); got != "cannot use *** or ***, a" {
		t.Error(got)
	}
	if got := fmt.Sprintf("%v %+v %s %#v", secrets, secrets, secrets["one"], secrets["one"]); strings.Contains(got, "pä") || strings.Contains(got, "112") {
		t.Error(got)
	}
	for _, text := range []string{strings.Repeat("ä", 2000), "a\x00b\x1b[2J\xffc\nd"} {
		if got := printable(text); len(got) > messageLimit+8 || strings.ContainsAny(got, "\x00\x1b\n") {
			t.Errorf("%q", got)
		}
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
