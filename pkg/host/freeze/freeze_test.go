package freeze

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

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
	process, out := spawn(t, dir)
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
			ends(t, guard)
		})
	}
}

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

func TestAGuardThatCannotStart(t *testing.T) {
	dir := open(t, hosttest.Ext4(t, 32, ""))
	for _, guard := range [][]string{{"/no/such/program"}, {"/bin/false"}, {"/bin/echo"}} {
		if _, err := Freeze([]*os.File{dir}, long, guard); err == nil {
			t.Errorf("frozen with %v", guard)
		}
		within(t, write(dir))
	}
}
