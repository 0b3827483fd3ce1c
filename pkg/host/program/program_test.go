package program_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
	"github.com/hostvol/hostvol/pkg/host/program"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

func open(t *testing.T) *safepath.Dir {
	t.Helper()
	d, err := safepath.OpenRoot(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWrite(t *testing.T) {
	d := open(t)
	must(t, program.Write(d, "x", strings.NewReader("text"), 0o755))
	s, err := program.Look(d, "x")
	if must(t, err); s.Mode != 0o755 || s.Bytes != 4 || s.Owner != uint32(os.Geteuid()) {
		t.Errorf("%+v", s)
	}
	if err := program.Write(d, "x", strings.NewReader("other"), 0o755); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	must(t, os.Symlink("/tmp/elsewhere", filepath.Join(d.Name(), "link")))
	if err := program.Write(d, "link", strings.NewReader("other"), 0o755); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	for _, name := range []string{"", "..", "a/b"} {
		if err := program.Write(d, name, strings.NewReader(""), 0o755); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := program.Write(d, "broken", broken{}, 0o755); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	if _, err := program.Look(d, "broken"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

// What is written can be started at once, while other goroutines start children all
// the time, each of which would have the file open for writing.
func TestStartedAtOnce(t *testing.T) {
	d := open(t)
	text, err := os.ReadFile("/bin/true")
	must(t, err)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	defer wait.Wait()
	defer close(stop)
	for range 3 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := exec.Command("/bin/true").Run(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for n := range 150 {
		must(t, program.Write(d, "true", strings.NewReader(string(text)), 0o755))
		if err := exec.Command(filepath.Join(d.Name(), "true")).Run(); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		must(t, d.Unlink("true"))
	}
}

// A state tells every change, also one that sets the time back.
func TestState(t *testing.T) {
	d := open(t)
	path := filepath.Join(d.Name(), "x")
	must(t, os.WriteFile(path, []byte("text"), 0o600))
	info, err := os.Stat(path)
	must(t, err)
	look := func() program.State {
		s, err := program.Look(d, "x")
		must(t, err)
		return s
	}
	before := look()
	if before != look() || !before.Same(look()) {
		t.Error("it differs from itself")
	}
	must(t, os.WriteFile(path, []byte("else"), 0o600))
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	if before == look() || !before.Same(look()) {
		t.Error("a change is not seen")
	}
	must(t, program.Link(d, "x", "y"))
	if y, err := program.Look(d, "y"); err != nil || !y.Same(look()) {
		t.Errorf("%+v %v", y, err)
	}
	if err := program.Link(d, "x", "y"); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	for name, want := range map[string]fs.FileMode{"dir": fs.ModeDir, "link": fs.ModeSymlink, "pipe": fs.ModeIrregular, "setuid": fs.ModeSetuid} {
		at := filepath.Join(d.Name(), name)
		must(t, map[string]func() error{
			"dir":    func() error { return os.Mkdir(at, 0o700) },
			"link":   func() error { return os.Symlink("/", at) },
			"pipe":   func() error { return unix.Mkfifo(at, 0o600) },
			"setuid": func() error { return errors.Join(os.WriteFile(at, nil, 0o700), unix.Chmod(at, 0o4700)) },
		}[name]())
		if s, err := program.Look(d, name); err != nil || s.Mode&^fs.ModePerm != want {
			t.Errorf("%s: %v %v", name, s.Mode, err)
		}
	}
}

func TestRemoved(t *testing.T) {
	d := open(t)
	if s, removed, err := program.LookAt(d); err != nil || removed || !s.Mode.IsDir() {
		t.Errorf("%+v %t %v", s, removed, err)
	}
	must(t, os.Mkdir(filepath.Join(d.Name(), "sub"), 0o700))
	sub, err := d.OpenDir("sub")
	must(t, err)
	defer sub.Close()
	must(t, d.Rmdir("sub"))
	if _, removed, err := program.LookAt(sub); err != nil || !removed {
		t.Errorf("%t %v", removed, err)
	}
}

func TestLock(t *testing.T) {
	d := open(t)
	unlock, err := program.Lock(d)
	must(t, err)
	again, err := safepath.OpenRoot(d.Name())
	must(t, err)
	defer again.Close()
	if _, err := program.Lock(again); !errors.Is(err, safepath.ErrLocked) {
		t.Error(err)
	}
	must(t, unlock())
	unlock, err = program.Lock(again)
	must(t, err)
	must(t, unlock())
}

func TestNoExec(t *testing.T) {
	d := open(t)
	if none, err := program.NoExec(d); err != nil || none {
		t.Errorf("%t %v", none, err)
	}
	dir := t.TempDir()
	hosttest.Mount(t, "tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "")
	other, err := safepath.OpenRoot(dir)
	must(t, err)
	none, err := program.NoExec(other)
	if err := errors.Join(err, other.Close()); err != nil || !none {
		t.Errorf("%t %v", none, err)
	}
}
