package install_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/flex/install"
	"github.com/hostvol/hostvol/pkg/flex/settings"
)

// What a child of a crash test is told.
const (
	killAt  = "INSTALL_TEST_KILL_AT"
	killDir = "INSTALL_TEST_DIR"
	killDo  = "INSTALL_TEST_DO"
	// programsDir has the small executables that are installed.
	programsDir = "INSTALL_TEST_PROGRAMS"
)

// The test binary is also the process that is killed. What is installed is small, in
// two versions.
func TestMain(m *testing.M) {
	if at, err := strconv.Atoi(os.Getenv(killAt)); err == nil {
		runAndDie(at)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "programs")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		for _, version := range []string{"1", "2"} {
			build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w -X main.version="+version, "-o", filepath.Join(dir, version), "./testdata/driver")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("%v: %s", err, out))
			}
		}
		if err := os.Setenv(programsDir, dir); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// version opens one of the programs.
func version(number string) *os.File {
	f, err := os.Open(filepath.Join(os.Getenv(programsDir), number))
	if err != nil {
		panic(err)
	}
	return f
}

// runAndDie does what it is told to, and is killed at that step.
func runAndDie(at int) {
	o := options(os.Getenv(killDir))
	step := 0
	o.Step = func(string) {
		if step++; step == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			for { // until it is killed
				time.Sleep(time.Hour)
			}
		}
	}
	if err := do(os.Getenv(killDo), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// do runs one of the things that may be killed.
func do(what string, o install.Options) error {
	if what == "upgrade" {
		o.Settings.Log = "/var/log/flex.log"
		o.Program = version("2")
	}
	if what == "replace" {
		o.Force = true
	}
	i, err := install.New(o)
	if err != nil {
		return err
	}
	if what == "uninstall" {
		_, err = i.Uninstall(background())
	} else {
		_, err = i.Install(background())
	}
	return err
}

func options(dir string) install.Options {
	return install.Options{
		Dir: dir, Vendor: "hostvol", Drivers: []string{"local"}, Program: version("1"),
		Settings: settings.Settings{KubeletDir: kubeletOf(dir)},
	}
}

func kubeletOf(dir string) string { return filepath.Join(filepath.Dir(dir), "kubelet") }

// place is a plugin directory with a kubelet's directory beside it.
func place(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "exec")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.MkdirAll(filepath.Join(kubeletOf(dir), "pods"), 0o755))
	return dir
}

// installer of the running test; change changes its options.
func installer(t *testing.T, dir string, change ...func(*install.Options)) *install.Installer {
	t.Helper()
	o := options(dir)
	t.Cleanup(func() { o.Program.Close() })
	for _, f := range change {
		f(&o)
	}
	i, err := install.New(o)
	must(t, err)
	return i
}

func installed(t *testing.T, i *install.Installer) []install.Done {
	t.Helper()
	all, err := i.Install(t.Context())
	must(t, err)
	return all
}

// version2 is another version of the program.
func version2(t *testing.T) *os.File {
	t.Helper()
	f := version("2")
	t.Cleanup(func() { f.Close() })
	return f
}

// whole checks that a driver is installed as it should be, and runs.
func whole(t *testing.T, dir, driver string, program *os.File) {
	t.Helper()
	of := filepath.Join(dir, "hostvol~"+driver)
	want, err := os.ReadFile(program.Name())
	must(t, err)
	have, err := os.ReadFile(filepath.Join(of, driver))
	must(t, err)
	if !bytes.Equal(want, have) {
		t.Errorf("the executable has %d bytes, not the %d of the other", len(have), len(want))
	}
	for name, mode := range map[string]fs.FileMode{"": fs.ModeDir | 0o755, driver: 0o755, settings.File: 0o600} {
		info, err := os.Lstat(filepath.Join(of, name))
		must(t, err)
		if info.Mode() != mode {
			t.Errorf("%q has mode %s, not %s", name, info.Mode(), mode)
		}
	}
	if _, err := settings.Read(of); err != nil {
		t.Error(err)
	}
	if out, err := probe(dir, driver); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if got := entries(t, of); len(got) != 2 {
		t.Errorf("there is more: %v", got)
	}
}

// probe does what the kubelet does with what is new.
func probe(dir, driver string) ([]byte, error) {
	return exec.Command(filepath.Join(dir, "hostvol~"+driver, driver), "init").CombinedOutput()
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

// mounted mounts something on a volume's directory.
func mounted(t *testing.T, target string) (unmount func()) {
	t.Helper()
	must(t, os.MkdirAll(target, 0o755))
	must(t, unix.Mount("tmpfs", target, "tmpfs", 0, "size=64k"))
	once := sync.OnceFunc(func() { must(t, unix.Unmount(target, 0)) })
	t.Cleanup(once)
	return once
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !check(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func contains(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in: %v", word, err)
		}
	}
}
