package freeze

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/hosttest"
)

// three opens three new filesystems.
func three(t *testing.T) (dirs []*os.File) {
	t.Helper()
	for range 3 {
		dirs = append(dirs, open(t, hosttest.Ext4(t, 32, "")))
	}
	return dirs
}

// writer starts a write to a filesystem that does not end before release is called.
func writer(t *testing.T, dir *os.File) (release func()) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	file, err := os.Create(filepath.Join(dir.Name(), "spliced"))
	must(t, err)
	spliced, thread := make(chan error, 1), make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		_, err := unix.Splice(int(r.Fd()), nil, int(file.Fd()), nil, 4, 0)
		spliced <- errors.Join(err, file.Close(), r.Close())
	}()
	release = sync.OnceFunc(func() {
		_, err := w.WriteString("text")
		must(t, errors.Join(err, w.Close(), <-spliced))
	})
	t.Cleanup(release)
	within(t, inCall(<-thread, unix.SYS_SPLICE))
	return release
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

// children are the processes that a process has started and that have not ended.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	must(t, err)
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			must(t, err)
			pids = append(pids, child)
		}
	}
	return pids
}

// stuck freezes where one filesystem is stuck. A slow machine cannot freeze the
// others in a second, so the limit grows until it can.
func stuck(t *testing.T, dirs []*os.File, which int) *StuckError {
	t.Helper()
	var found *StuckError
	for limit := time.Second; limit < patience; limit *= 2 {
		begin := time.Now()
		_, err := Freeze(dirs, limit, program())
		if took := time.Since(begin); took > limit+patience || !errors.Is(err, ErrEnded) {
			t.Errorf("after %v: %v", took, err)
		}
		if !errors.As(err, &found) {
			t.Errorf("it does not say which filesystem is stuck: %v", err)
			return &StuckError{}
		}
		if !strings.Contains(err.Error(), dirs[which].Name()) {
			t.Errorf("it does not name the filesystem: %v", err)
		}
		if slices.Equal(found.Stuck, []int{which}) {
			return found
		}
	}
	t.Errorf("stuck are %v, not %d alone", found.Stuck, which)
	return found
}

// gone waits until nothing is pending any more.
func gone(t *testing.T, s *StuckError) {
	t.Helper()
	select {
	case <-s.Gone:
	case <-time.After(patience):
		t.Errorf("the guard goes on after %v", patience)
	}
}

// goesOn tells that a guard does, since a freeze is pending.
func goesOn(t *testing.T, s *StuckError) {
	t.Helper()
	select {
	case <-s.Gone:
		t.Error("the guard has left a pending freeze alone")
	default:
	}
	if len(children(t, os.Getpid())) == 0 {
		t.Error("there is no guard")
	}
}

// A write that does not end keeps its filesystem from being frozen; that neither
// hangs this process nor leaves another filesystem of the group frozen.
func TestAWriteThatDoesNotEnd(t *testing.T) {
	for which := range 3 {
		t.Run(fmt.Sprint("filesystem ", which), func(t *testing.T) {
			dirs := three(t)
			release := writer(t, dirs[which])
			s := stuck(t, dirs, which)
			for i, dir := range dirs {
				if i != which {
					within(t, write(dir))
				}
			}
			hung := write(dirs[which])
			hangs(t, hung)
			goesOn(t, s)
			release()
			gone(t, s)
			within(t, hung)
			for _, dir := range dirs {
				within(t, write(dir))
			}
			if left := children(t, os.Getpid()); len(left) > 0 {
				t.Errorf("left: processes %v", left)
			}
		})
	}
}
