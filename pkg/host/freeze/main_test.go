package freeze

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Words that make this binary the guard, or a process that freezes and waits for
// its end.
const (
	guardWord   = "freeze-guard"
	freezerWord = "freezer"
)

func TestMain(m *testing.M) {
	// The race detector makes a child wait a second before it exits.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == guardWord:
		var limit time.Duration
		if limit, err = time.ParseDuration(os.Args[2]); err == nil {
			err = Guard(limit, os.Stdin, os.Stdout)
		}
	case len(os.Args) > 2 && os.Args[1] == freezerWord:
		err = freezer(os.Args[2:])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[1:], err)
		os.Exit(1)
	}
	os.Exit(0)
}

func program() []string { return []string{"/proc/self/exe", guardWord} }

// long is a limit that no test waits for.
const long = time.Minute

func freezer(paths []string) error {
	var dirs []*os.File
	for _, path := range paths {
		dir, err := os.Open(path)
		if err != nil {
			return err
		}
		dirs = append(dirs, dir)
	}
	f, err := Freeze(dirs, long, program())
	if err != nil {
		return err
	}
	fmt.Println(f.guard.PID())
	for { // until it is killed
		time.Sleep(time.Hour)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a directory; whatever the test leaves, its filesystem is thawed first.
func open(t *testing.T, path string) *os.File {
	t.Helper()
	dir, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() {
		_, _ = Thaw(dir)
		_ = dir.Close()
	})
	return dir
}

// write starts a write, which hangs while the filesystem is frozen.
func write(dir *os.File) (done chan error) {
	done = make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(dir.Name(), "file"), []byte("text"), 0o600) }()
	return done
}

// patience is how long a slow machine may take for what is over in a moment;
// far less than long.
const patience = 20 * time.Second

// within waits for a write to be done.
func within(t *testing.T, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(patience):
		t.Errorf("a write still hangs after %v", patience)
	}
}

// hangs tells that a write does.
func hangs(t *testing.T, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Errorf("written to a frozen filesystem: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
}

// spawn starts a process that freezes, with what it prints: its guard's id.
func spawn(t *testing.T, dirs ...*os.File) (process *exec.Cmd, out io.Reader) {
	t.Helper()
	process = exec.Command("/proc/self/exe", freezerWord)
	for _, dir := range dirs {
		process.Args = append(process.Args, dir.Name())
	}
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	return process, out
}

// ends waits for the end of a process that need not be a child of this one.
func ends(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); isAlive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the guard goes on")
		}
	}
}

// isAlive is false for a process that has ended, also while its parent does not know.
func isAlive(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return len(status) > 0 && !bytes.Contains(status, []byte("State:\tZ"))
}
