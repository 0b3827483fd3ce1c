package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/hostvol/hostvol/pkg/app"
	"github.com/hostvol/hostvol/pkg/host/errno"
)

// noteOfFreeze is the attribute of an item whose filesystem is about to be frozen.
const noteOfFreeze = "trusted.hostvol.frozen"

// serveSlow has a volume "vol", mounted for "pod", of which a copy takes a while: its pool cannot share blocks. Its
// filesystem is frozen for at most that long.
func serveSlow(t *testing.T, freezeFor time.Duration) (n *node, target string) {
	t.Helper()
	n = newNode(t)
	n.pool = n.filesystem("ext4", 4096)
	n.start("--config", writeConfig(t, fmt.Sprintf("pools: [{name: default, path: %s, create: true}]\ncopies: {freezeFor: %v}", n.pool, freezeFor)))
	use := formatted("ext4")
	n.volume("vol", with("engine", "image"), as(use), bytes(640*mib))
	target = n.mounted("vol", "pod", usedAs(use))
	if _, err := write(t, filepath.Join(target, "big"), 512*mib); err != nil {
		t.Fatal(err)
	}
	syncDir(t, target)
	t.Cleanup(func() { _ = exec.Command("fsfreeze", "--unfreeze", target).Run() })
	return n, target
}

func syncDir(t *testing.T, path string) {
	t.Helper()
	dir, err := os.Open(path)
	must(t, err)
	must(t, errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close()))
}

// scribe writes to a directory all the time, and hangs while that is frozen.
type scribe struct {
	count atomic.Int64
	stop  atomic.Bool
	ended chan error
}

func scribble(t *testing.T, dir string) *scribe {
	t.Helper()
	s := &scribe{ended: make(chan error, 1)}
	go func() {
		var err error
		for err == nil && !s.stop.Load() {
			err = os.WriteFile(filepath.Join(dir, "scribbled"), []byte(strconv.FormatInt(s.count.Load(), 10)), 0o600)
			s.count.Add(1)
			time.Sleep(time.Millisecond)
		}
		s.ended <- err
	}()
	t.Cleanup(func() { s.stop.Store(true) })
	return s
}

func (s *scribe) end(t *testing.T) {
	t.Helper()
	s.stop.Store(true)
	select {
	case err := <-s.ended:
		must(t, err)
	case <-time.After(waitPurge):
		t.Fatal("the writer hangs")
	}
}

// goesOn fails unless something is written soon. That is enough to tell a thaw that was made from the end of the
// minute for which some tests let a volume be frozen.
func (s *scribe) goesOn(t *testing.T) {
	t.Helper()
	begin := s.count.Load()
	eventually(t, waitPurge, func() string {
		if s.count.Load() > begin+1 {
			return ""
		}
		return "nothing is written"
	})
}

// hangs fails if something is written.
func (s *scribe) hangs(t *testing.T) {
	t.Helper()
	time.Sleep(time.Second) // for a write that is under way
	begin := s.count.Load()
	time.Sleep(400 * time.Millisecond)
	if s.count.Load() > begin {
		t.Error("something is written")
	}
}

func (n *node) noted(id string) bool {
	n.t.Helper()
	_, err := unix.Getxattr(filepath.Join(n.pool, "volumes", id), noteOfFreeze, make([]byte, 8))
	if err != nil && !errno.NoAttribute(err) {
		n.t.Fatal(err)
	}
	return err == nil
}

func (n *node) staged() []string {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.pool, "staging"))
	must(n.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// cutting starts a snapshot of "vol" and stops the daemon in the first half of the copy, while the filesystem is
// frozen: else the copy could end before the test goes on.
func (n *node) cutting(name string) {
	n.t.Helper()
	for range 10 {
		answer := make(chan error, 1)
		go func() {
			_, err := n.cut(name, "vol")
			answer <- err
		}()
		eventually(n.t, waitPurge, func() string {
			if n.halfCopied() || len(answer) > 0 {
				return ""
			}
			return "it is not copied"
		})
		n.halt()
		if n.halfCopied() {
			return
		}
		must(n.t, unix.Kill(n.daemon.PID(), unix.SIGCONT))
		n.t.Logf("the copy was past its first half; its call got %v", <-answer)
		done(n.t, func() error { return n.removeSnapshot(name) })
	}
	n.t.Fatal("no copy was met in its first half")
}

// halfCopied tells whether a copy of "vol", which is frozen, is in its first half.
func (n *node) halfCopied() bool {
	n.t.Helper()
	if !n.noted("vol") {
		return false
	}
	for _, name := range n.staged() {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(n.pool, "staging", name, "image"), &st) == nil {
			return st.Blocks*512 > 8*mib && st.Blocks*512 < allocated(n.t, n.image("vol"))/2
		}
	}
	return false
}

// halt stops the daemon with SIGSTOP, and returns when none of its threads runs.
func (n *node) halt() {
	n.t.Helper()
	must(n.t, unix.Kill(n.daemon.PID(), unix.SIGSTOP))
	eventually(n.t, waitPurge, func() string {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", n.daemon.PID()))
		must(n.t, err)
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && !strings.Contains(string(text), ") T ") {
				return string(text)
			}
		}
		return ""
	})
}

// guards are the processes that guard what a daemon has frozen.
func guards(t *testing.T, parent int) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), app.GuardCommand) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		if err != nil || !strings.Contains(string(stat), fmt.Sprintf("PPid:\t%d\n", parent)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		must(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// A daemon that is killed while it has a volume frozen leaves its guard, which lets the volume's writers go on.
func TestFreezeAndAKill(t *testing.T) {
	n, target := serveSlow(t, time.Minute)
	s := scribble(t, target)
	n.cutting("snap")
	must(t, n.daemon.Kill())
	n.daemon = nil
	s.goesOn(t)
	n.start()
	if n.noted("vol") || len(n.staged()) > 0 {
		t.Errorf("after the next start it is noted: %t, and staging has %v", n.noted("vol"), n.staged())
	}
	s.goesOn(t)
	done(t, func() error { _, err := n.cut("snap", "vol"); return err })
	s.goesOn(t)
	s.end(t)
	must(t, n.unpublish("vol", target))
}

// What ends daemon and guard at once leaves a volume frozen; the next start thaws it.
func TestFreezeAndAKillOfTheGuard(t *testing.T) {
	n, target := serveSlow(t, time.Minute)
	s := scribble(t, target)
	n.cutting("snap")
	pids := guards(t, n.daemon.PID())
	if len(pids) != 1 {
		t.Fatalf("guards: %v", pids)
	}
	must(t, unix.Kill(pids[0], unix.SIGKILL))
	must(t, n.daemon.Kill())
	n.daemon = nil
	s.hangs(t)
	if !n.noted("vol") {
		t.Error("nothing tells the next start of it")
	}
	n.start()
	s.goesOn(t)
	if n.noted("vol") || len(n.staged()) > 0 {
		t.Errorf("after the next start it is noted: %t, and staging has %v", n.noted("vol"), n.staged())
	}
	if got := n.reasons("vol"); len(got) > 0 {
		t.Errorf("%v", got)
	}
	s.end(t)
	must(t, n.unpublish("vol", target))
	done(t, func() error { _, err := n.cut("snap", "vol"); return err })
}

// A copy that takes longer than a volume may be frozen is given up, and says what helps.
func TestFreezeForTooLong(t *testing.T) {
	n, target := serveSlow(t, 100*time.Millisecond)
	s := scribble(t, target)
	for range 2 {
		_, err := n.cut("snap", "vol")
		want(t, err, codes.FailedPrecondition, "freezeFor", "unpublish")
		s.goesOn(t)
		if n.noted("vol") || len(n.staged()) > 0 {
			t.Errorf("after it was given up it is noted: %t, and staging has %v", n.noted("vol"), n.staged())
		}
		eventually(t, waitPurge, func() string {
			if pids := guards(t, n.daemon.PID()); len(pids) > 0 {
				return fmt.Sprintf("guards are left: %v", pids)
			}
			return ""
		})
	}
	_, err := n.create("clone", with("engine", "image"), as(formatted("ext4")), fromVolume("vol"), bytes(640*mib))
	want(t, err, codes.FailedPrecondition, "freezeFor")
	s.goesOn(t)
	s.end(t)
	must(t, n.unpublish("vol", target))
	done(t, func() error { _, err := n.cut("snap", "vol"); return err })
	isClean(t, filepath.Join(n.pool, "snapshots", "snap", "image"))
}

// isClean has fsck look at the image of an ext4, which needs nothing to be replayed.
func isClean(t *testing.T, image string) {
	t.Helper()
	out, err := command("e2fsck", "-n", "-f", image).CombinedOutput()
	if err != nil || strings.Contains(string(out), "recovery") {
		t.Errorf("%s: %v: %s", image, err, out)
	}
}

// cat reads a file of an ext4 that is mounted nowhere.
func cat(t *testing.T, image, file string) string {
	t.Helper()
	out, err := command("debugfs", "-R", "cat "+file, image).Output()
	must(t, err)
	return string(out)
}

// A write that does not end, which a hostile pod can have for as long as it likes, keeps its volume from being frozen.
// Its own writers wait for that, and a guard that no signal ends; the snapshot is refused, and the daemon goes on.
func TestFreezeAndAWriteThatDoesNotEnd(t *testing.T) {
	n, target := serveSlow(t, time.Second)
	r, w, err := os.Pipe()
	must(t, err)
	file, err := os.Create(filepath.Join(target, "spliced"))
	must(t, err)
	spliced := make(chan error, 1)
	go func() {
		_, err := unix.Splice(int(r.Fd()), nil, int(file.Fd()), nil, 4, 0)
		spliced <- errors.Join(err, file.Close())
	}()
	release := sync.OnceFunc(func() { _, _ = w.WriteString("text") })
	t.Cleanup(release)
	time.Sleep(100 * time.Millisecond) // for the splice to be under way; if it is not, nothing is tried
	_, err = n.cut("snap", "vol")
	want(t, err, codes.FailedPrecondition, "freezeFor")
	n.volume("other")
	if len(n.staged()) > 0 {
		t.Errorf("staging has %v", n.staged())
	}
	release()
	must(t, <-spliced)
	s := scribble(t, target)
	s.goesOn(t)
	s.end(t)
	must(t, n.unpublish("vol", target))
	done(t, func() error { _, err := n.cut("snap", "vol"); return err })
}

// Snapshots of a volume that is published and unpublished and written to all the time: none hangs, none is torn.
func TestFreezeWhilePublishing(t *testing.T) {
	for _, pool := range []string{"ext4", "xfs"} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			n := serveOn(t, pool)
			use := formatted("ext4")
			n.volume("vol", with("engine", "image"), as(use), bytes(32*mib))
			target := n.target("pod")
			t.Cleanup(func() { _ = exec.Command("fsfreeze", "--unfreeze", target).Run() })
			var stop atomic.Bool
			ended := make(chan error, 1)
			rounds := 0
			go func() {
				var err error
				for ; err == nil && !stop.Load(); rounds++ {
					err = n.round(target, rounds)
				}
				ended <- err
			}()
			made := 0
			for i, end := 0, time.Now().Add(6*time.Second); time.Now().Before(end); i++ {
				name := fmt.Sprint("snap-", i)
				_, err := n.cut(name, "vol")
				if err != nil {
					oneOf(t, err, codes.Aborted)
					continue
				}
				made++
				image := filepath.Join(n.pool, "snapshots", name, "image")
				isClean(t, image)
				first, second := cat(t, image, "/first"), cat(t, image, "/second")
				a, _ := strconv.Atoi(first)
				b, _ := strconv.Atoi(second)
				if a != b && a != b+1 {
					t.Errorf("snapshot %d is of several instants: %q and %q", i, first, second)
				}
				must(t, n.removeSnapshot(name))
			}
			stop.Store(true)
			select {
			case err := <-ended:
				must(t, err)
			case <-time.After(20 * time.Second):
				t.Fatal("publications hang")
			}
			if rounds < 3 || made < 3 {
				t.Errorf("%d rounds of publications, %d snapshots", rounds, made)
			}
			t.Logf("%d rounds of publications, %d snapshots", rounds, made)
			n.detached("vol", "after the last round")
		})
	}
}

// round publishes "vol", writes to it, one file after the other, and unpublishes it.
func (n *node) round(target string, round int) error {
	if err := n.again(func() error { return n.publish("vol", target, usedAs(formatted("ext4"))) }); err != nil {
		return err
	}
	for i := range 20 {
		for _, name := range []string{"first", "second"} {
			if err := overwrite(filepath.Join(target, name), fmt.Sprintf("%010d", 20*round+i)); err != nil {
				return err
			}
		}
	}
	return n.again(func() error { return n.unpublish("vol", target) })
}

// again repeats a call that another one is in the way of, as a kubelet does.
func (n *node) again(call func() error) error {
	for end := time.Now().Add(waitPurge); ; time.Sleep(5 * time.Millisecond) {
		err := call()
		if err == nil || time.Now().After(end) || !strings.Contains(err.Error(), codes.Aborted.String()) && !strings.Contains(err.Error(), "in use") {
			return err
		}
	}
}

// overwrite writes a text over one of the same length, durably.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
