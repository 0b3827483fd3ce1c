package freeze

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
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
	case len(os.Args) == 3 && os.Args[1] == freezerWord:
		err = freezer(os.Args[2])
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

func freezer(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	f, err := Freeze([]*os.File{dir}, long, program())
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

func TestFreezeStopsWriters(t *testing.T) {
	for name, path := range map[string]string{
		"ext4": hosttest.Ext4(t, 32, ""), "xfs": hosttest.XFS(t, 300, ""), "btrfs": hosttest.BtrfsNoQuota(t, 128),
	} {
		t.Run(name, func(t *testing.T) {
			dir := open(t, path)
			within(t, write(dir))
			for range 2 {
				f, err := Freeze([]*os.File{dir}, long, program())
				must(t, err)
				done := write(dir)
				hangs(t, done)
				must(t, f.Thaw())
				within(t, done)
			}
		})
	}
}

func TestTheGuardThawsWhenTheTimeIsOver(t *testing.T) {
	dir := open(t, hosttest.Ext4(t, 32, ""))
	f, _ := briefly(t, dir)
	within(t, write(dir))
	if err := f.Thaw(); !errors.Is(err, ErrEnded) {
		t.Errorf("thawed after the time was over: %v", err)
	}
	within(t, write(dir))
}

// briefly freezes for a time that is as short as the machine can do.
func briefly(t *testing.T, dir *os.File) (*Frozen, time.Duration) {
	t.Helper()
	limit := 700 * time.Millisecond
	f, err := Freeze([]*os.File{dir}, limit, program())
	for errors.Is(err, ErrEnded) && limit < patience {
		limit *= 2
		f, err = Freeze([]*os.File{dir}, limit, program())
	}
	must(t, err)
	return f, limit
}

// start starts a process that freezes, and gives its guard.
func start(t *testing.T, dir *os.File) (process *exec.Cmd, guard int) {
	t.Helper()
	process = exec.Command("/proc/self/exe", freezerWord, dir.Name())
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	_, err = fmt.Sscan(line, &guard)
	must(t, err)
	return process, guard
}

func TestTheGuardThawsWhenItsParentIsKilled(t *testing.T) {
	dir := open(t, hosttest.Ext4(t, 32, ""))
	for name, kill := range map[string]func(process *exec.Cmd) error{
		"killed":                   func(p *exec.Cmd) error { return p.Process.Kill() },
		"its group is terminated":  func(p *exec.Cmd) error { return unix.Kill(-p.Process.Pid, unix.SIGTERM) },
		"its group is interrupted": func(p *exec.Cmd) error { return unix.Kill(-p.Process.Pid, unix.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			process, guard := start(t, dir)
			done := write(dir)
			hangs(t, done)
			must(t, kill(process))
			within(t, done)
			for end := time.Now().Add(patience); unix.Kill(guard, 0) == nil; time.Sleep(time.Millisecond) {
				if state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", guard)); len(state) == 0 || isZombie(state) {
					break
				}
				if time.Now().After(end) {
					t.Fatal("the guard goes on")
				}
			}
		})
	}
}

func isZombie(status []byte) bool { return bytes.Contains(status, []byte("State:\tZ")) }

// What ends a daemon gently does not end its guard.
func TestTheGuardOutlivesSignals(t *testing.T) {
	dir := open(t, hosttest.Ext4(t, 32, ""))
	f, err := Freeze([]*os.File{dir}, long, program())
	must(t, err)
	done := write(dir)
	pid := f.guard.PID()
	if group, err := unix.Getpgid(pid); err != nil || group == unix.Getpgrp() {
		t.Errorf("the guard is in group %d: %v", group, err)
	}
	for _, s := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE} {
		must(t, unix.Kill(-pid, s))
	}
	hangs(t, done)
	if err := f.Thaw(); err != nil {
		t.Errorf("the guard did not end well: %v", err)
	}
	within(t, done)
}

// A guard that was told it is done does not thaw what somebody else freezes.
func TestTheGuardLeavesOthersAlone(t *testing.T) {
	dir := open(t, hosttest.Ext4(t, 32, ""))
	f, limit := briefly(t, dir)
	must(t, f.Thaw())
	must(t, freeze(dir))
	done := write(dir)
	time.Sleep(limit)
	hangs(t, done)
	if was, err := Thaw(dir); !was || err != nil {
		t.Errorf("it was thawed: %v", err)
	}
	within(t, done)
	if was, err := Thaw(dir); was || err != nil {
		t.Errorf("what is not frozen: %t %v", was, err)
	}
}

func TestAllOrNone(t *testing.T) {
	first, second := open(t, hosttest.Ext4(t, 32, "")), open(t, hosttest.Ext4(t, 32, ""))
	must(t, freeze(second))
	_, err := Freeze([]*os.File{first, second}, long, program())
	if !errors.Is(err, ErrFrozen) {
		t.Errorf("somebody else has frozen one: %v", err)
	}
	within(t, write(first))
	hung := write(second)
	hangs(t, hung)
	if was, err := Thaw(second); !was || err != nil {
		t.Errorf("what somebody else has frozen was thawed: %v", err)
	}
	within(t, hung)
	f, err := Freeze([]*os.File{first, second}, long, program())
	must(t, err)
	a, b := write(first), write(second)
	hangs(t, a)
	hangs(t, b)
	must(t, f.Thaw())
	within(t, a)
	within(t, b)
}

// A write that does not end keeps a filesystem from being frozen; that must neither
// hang this process nor leave anything frozen.
func TestAWriteThatDoesNotEnd(t *testing.T) {
	first, second := open(t, hosttest.Ext4(t, 32, "")), open(t, hosttest.Ext4(t, 32, ""))
	r, w, err := os.Pipe()
	must(t, err)
	file, err := os.Create(filepath.Join(second.Name(), "spliced"))
	must(t, err)
	spliced, thread := make(chan error, 1), make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		_, err := unix.Splice(int(r.Fd()), nil, int(file.Fd()), nil, 4, 0)
		spliced <- errors.Join(err, file.Close())
	}()
	within(t, inCall(<-thread, unix.SYS_SPLICE))
	const limit = time.Second
	begin := time.Now()
	f, err := Freeze([]*os.File{first, second}, limit, program())
	took := time.Since(begin)
	if err == nil {
		_ = f.Thaw()
	}
	if !errors.Is(err, ErrEnded) || took > 5*limit {
		t.Errorf("after %v: %v", took, err)
	}
	_, err = w.WriteString("text")
	must(t, err)
	must(t, <-spliced)
	within(t, write(first))
	within(t, write(second))
}

// inCall tells when a thread waits in a system call.
func inCall(thread int, number int) (done chan error) {
	done = make(chan error, 1)
	go func() {
		for {
			call, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", thread))
			if err != nil || bytes.HasPrefix(call, fmt.Appendf(nil, "%d ", number)) {
				done <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return done
}

func TestAGuardThatCannotStart(t *testing.T) {
	dir := open(t, hosttest.Ext4(t, 32, ""))
	for _, guard := range [][]string{{"/no/such/program"}, {"/bin/false"}, {"/bin/echo"}} {
		if _, err := Freeze([]*os.File{dir}, long, guard); err == nil {
			t.Errorf("frozen with %v", guard)
		}
		within(t, write(dir))
	}
}
