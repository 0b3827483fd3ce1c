package install_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/flex/install"
	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

func background() context.Context { return context.Background() }

func TestInstall(t *testing.T) {
	dir := place(t)
	i := installer(t, dir, func(o *install.Options) { o.Drivers = install.Drivers() })
	all := installed(t, i)
	if len(all) != 4 || all[0].Driver != "hostvol/local" || !all[3].Program || !all[3].Settings {
		t.Errorf("%+v", all)
	}
	for _, driver := range install.Drivers() {
		whole(t, dir, driver, i.Program)
	}
	if got := entries(t, dir); len(got) != 4 {
		t.Errorf("%v", got)
	}
}

func TestOptions(t *testing.T) {
	for word, change := range map[string]func(*install.Options){
		`vendor "a~b"`: func(o *install.Options) { o.Vendor = "a~b" },
		`vendor "a/b"`: func(o *install.Options) { o.Vendor = "a/b" },
		`vendor ".a"`:  func(o *install.Options) { o.Vendor = ".a" },
		`vendor ""`:    func(o *install.Options) { o.Vendor = "" },
		`"zfs"`:        func(o *install.Options) { o.Drivers = []string{"local", "zfs"} },
		"twice":        func(o *install.Options) { o.Drivers = []string{"nfs", "local", "nfs"} },
		"no driver":    func(o *install.Options) { o.Drivers = nil },
		"no program":   func(o *install.Options) { o.Program = nil },
		"kubeletDir":   func(o *install.Options) { o.Settings.KubeletDir = "here" },
		"volume group": func(o *install.Options) { o.Settings.LVM.Groups = []string{"a/b"} },
	} {
		o := options(place(t))
		program := o.Program
		change(&o)
		_, err := install.New(o)
		contains(t, err, word)
		program.Close()
	}
	_, err := installer(t, filepath.Join(t.TempDir(), "none")).Install(t.Context())
	contains(t, err, "--volume-plugin-dir")
	_, err = installer(t, place(t), func(o *install.Options) { o.Dir = "relative" }).Install(t.Context())
	contains(t, err, "must be absolute")
}

// watch gathers what inotify tells of a directory and its directories; reading is
// none of it.
func watch(t *testing.T, dirs ...string) (events func() []string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Close(fd)) })
	for _, dir := range dirs {
		_, err := unix.InotifyAddWatch(fd, dir, unix.IN_ALL_EVENTS&^(unix.IN_ACCESS|unix.IN_OPEN|unix.IN_CLOSE_NOWRITE))
		must(t, err)
	}
	return func() (names []string) {
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		must(t, err)
		for at := 0; at < n; {
			size := int(buf[at+12]) | int(buf[at+13])<<8
			names = append(names, strings.TrimRight(string(buf[at+16:at+16+size]), "\x00"))
			at += 16 + size
		}
		return names
	}
}

// The same version writes nothing: the kernel has no event to tell, and no time of a
// file changes. So does another process's installation.
func TestSameWritesNothing(t *testing.T) {
	dir := place(t)
	i := installer(t, dir)
	installed(t, i)
	of := filepath.Join(dir, "hostvol~local")
	events := watch(t, dir, of)
	times := func() (all []syscall.Timespec) {
		for _, path := range []string{dir, of, filepath.Join(of, "local"), filepath.Join(of, settings.File)} {
			info, err := os.Lstat(path)
			must(t, err)
			st := info.Sys().(*syscall.Stat_t)
			all = append(all, st.Mtim, st.Ctim)
		}
		return all
	}
	before := times()
	for _, again := range []*install.Installer{i, installer(t, dir)} {
		for _, done := range installed(t, again) {
			if done.Program || done.Settings {
				t.Errorf("%+v", done)
			}
		}
	}
	if got := events(); got != nil {
		t.Errorf("events: %q", got)
	}
	if !slices.Equal(before, times()) {
		t.Error("a time has changed")
	}
	must(t, os.Chmod(filepath.Join(of, "local"), 0o755))
	if events() == nil {
		t.Error("the watch sees nothing at all")
	}
	// On a read-only filesystem, too.
	must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	must(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	installed(t, installer(t, dir))
}

// Of an installation the kubelet is told one name in its directory, and of an upgrade
// one in the driver's; all other names begin with a dot.
func TestWhatTheKubeletSees(t *testing.T) {
	dir := place(t)
	seen := func(events []string) (names []string) {
		for _, name := range events {
			if !strings.HasPrefix(name, ".") {
				names = append(names, name)
			}
		}
		return names
	}
	events := watch(t, dir)
	installed(t, installer(t, dir))
	if got := seen(events()); !slices.Equal(got, []string{"hostvol~local"}) {
		t.Errorf("installed: %q", got)
	}
	events = watch(t, dir, filepath.Join(dir, "hostvol~local"))
	two := version2(t)
	installed(t, installer(t, dir, func(o *install.Options) { o.Program, o.Settings.Log = two, "journald" }))
	if got := seen(events()); !slices.Equal(got, []string{"local"}) {
		t.Errorf("upgraded: %q", got)
	}
}

// What is not as it should be is repaired: each alone.
func TestRepair(t *testing.T) {
	dir := place(t)
	of := filepath.Join(dir, "hostvol~local")
	exe, config := filepath.Join(of, "local"), filepath.Join(of, settings.File)
	text, err := os.ReadFile(version2(t).Name())
	must(t, err)
	longer := filepath.Join(t.TempDir(), "longer") // its end is for scribble
	must(t, os.WriteFile(longer, append(text, "more of it"...), 0o755))
	program, err := os.Open(longer)
	must(t, err)
	defer program.Close()
	i := installer(t, dir, func(o *install.Options) { o.Program = program })
	installed(t, i)
	for name, spoil := range map[string]func() error{
		"executable gone":     func() error { return os.Remove(exe) },
		"executable's mode":   func() error { return os.Chmod(exe, 0o644) },
		"executable's owner":  func() error { return os.Chown(exe, 1, 1) },
		"executable's bytes":  func() error { return scribble(exe) },
		"settings gone":       func() error { return os.Remove(config) },
		"settings' mode":      func() error { return os.Chmod(config, 0o666) },
		"settings' text":      func() error { return os.WriteFile(config, []byte("{}"), 0o600) },
		"settings are a link": func() error { return errors.Join(os.Remove(config), os.Symlink("/etc/passwd", config)) },
		"all gone":            func() error { return os.RemoveAll(of) },
		"others may write":    func() error { return os.Chmod(of, 0o777) },
		"left by a kill": func() error {
			return errors.Join(os.WriteFile(filepath.Join(of, ".local.new"), []byte("x"), 0o600), os.WriteFile(filepath.Join(of, settings.File+".new"), nil, 0o600))
		},
	} {
		must(t, spoil())
		installed(t, i) // the one that has seen it all
		t.Run(name, func(t *testing.T) { whole(t, dir, "local", i.Program) })
	}
	if text, err := os.ReadFile("/etc/passwd"); err != nil || len(text) < 20 {
		t.Errorf("it wrote through a link: %v", err)
	}
}

// scribble changes the end of an executable, behind what makes it ours, and its time
// back.
func scribble(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("scribble"), info.Size()-8)
	return errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

// Flags that are not given have their defaults, not what an earlier one said.
func TestSettingsAreDeclared(t *testing.T) {
	dir := place(t)
	of := filepath.Join(dir, "hostvol~local")
	installed(t, installer(t, dir, func(o *install.Options) {
		o.Settings.Log, o.Settings.Timeout.Duration, o.Settings.LVM.Create = "/var/log/flex", 5*time.Minute, true
	}))
	s, err := settings.Read(of)
	if must(t, err); s.Log != "/var/log/flex" || s.Timeout.Duration != 5*time.Minute || !s.LVM.Create {
		t.Errorf("%+v", s)
	}
	all := installed(t, installer(t, dir))
	if !all[0].Program || !all[0].Settings { // the kubelet is to call init again
		t.Errorf("%+v", all)
	}
	s, err = settings.Read(of)
	if must(t, err); s.Log != "" || s.Timeout.Duration != time.Minute || s.LVM.Create || s.KubeletDir != kubeletOf(dir) {
		t.Errorf("%+v", s)
	}
}

// Any number at once: one installs, the others find it done.
func TestParallel(t *testing.T) {
	dir := place(t)
	var wait sync.WaitGroup
	var mu sync.Mutex
	written := 0
	for range 8 {
		i := installer(t, dir, func(o *install.Options) { o.Drivers = []string{"local", "nfs"} })
		wait.Go(func() {
			all, err := i.Install(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, done := range all {
				if done.Program {
					written++
				}
			}
		})
	}
	wait.Wait()
	if written != 2 {
		t.Errorf("%d drivers were written", written)
	}
	whole(t, dir, "nfs", installer(t, dir).Program)
	if got := entries(t, dir); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// A kubelet probes all the time while versions change: no call of it fails, though
// this process starts children while the executable is written.
func TestUpgradesUnderProbes(t *testing.T) {
	dir := place(t)
	one := installer(t, dir)
	two := installer(t, dir, func(o *install.Options) { o.Program, o.Settings.Log = version2(t), "journald" })
	installed(t, one)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	var probes atomic.Int64
	for range 2 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if out, err := probe(dir, "local"); err != nil || !strings.Contains(string(out), "Success") {
					t.Errorf("%v: %s", err, out)
					return
				}
				probes.Add(1)
			}
		})
	}
	for n := range 100 {
		next, before := two, probes.Load()
		if n%2 == 1 {
			next = one
		}
		if all := installed(t, next); !all[0].Program || !all[0].Settings {
			t.Errorf("upgrade %d: %+v", n, all)
		}
		eventually(t, "another probe", func() bool { return t.Failed() || probes.Load() > before })
	}
	close(stop)
	wait.Wait()
	t.Logf("%d probes", probes.Load())
}

// On a full disk nothing is left, neither of a first installation nor of an upgrade.
func TestFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "exec")
	must(t, os.MkdirAll(dir, 0o755))
	second := version2(t)
	info, err := second.Stat()
	must(t, err)
	hosttest.Mount(t, "tmpfs", dir, "tmpfs", 0, "size=1m")
	_, err = installer(t, dir).Install(t.Context())
	if contains(t, err, "make room", "hostvol/local"); !errno.NoSpace(err) {
		t.Error(err)
	}
	if got := entries(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", info.Size()+info.Size()/2)))
	one := installer(t, dir)
	installed(t, one)
	_, err = installer(t, dir, func(o *install.Options) { o.Program = second }).Install(t.Context())
	if contains(t, err, "make room"); !errno.NoSpace(err) {
		t.Error(err)
	}
	whole(t, dir, "local", one.Program)
}

func TestReadOnly(t *testing.T) {
	dir := place(t)
	hosttest.Mount(t, "tmpfs", dir, "tmpfs", unix.MS_RDONLY, "")
	_, err := installer(t, dir).Install(t.Context())
	contains(t, err, "read-only", "--volume-plugin-dir")
}

func TestNoExec(t *testing.T) {
	dir := place(t)
	hosttest.Mount(t, "tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "")
	_, err := installer(t, dir).Install(t.Context())
	contains(t, err, "noexec")
	if got := entries(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// The running executable, which is what the command installs.
func TestSelf(t *testing.T) {
	dir := place(t)
	self, err := install.Self()
	must(t, err)
	defer self.Close()
	installed(t, installer(t, dir, func(o *install.Options) { o.Program = self }))
	one, err := self.Stat()
	must(t, err)
	two, err := os.Stat(filepath.Join(dir, "hostvol~local/local"))
	if must(t, err); one.Size() != two.Size() {
		t.Errorf("%d bytes of %d", two.Size(), one.Size())
	}
}
