package freeze

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// done is what the guard is told when there is nothing left to guard.
const done = "done\n"

// firstFD is the first of the descriptors that the guard inherits.
const firstFD = 3

// Guard is the guard's whole life. It freezes the filesystems it has inherited,
// says so, and thaws them when limit is over, or when its input ends without a
// word: then the process that wanted them frozen is gone. It returns when there is
// nothing left to do.
//
// Each freeze has a thread of its own, since it cannot be interrupted. When one of
// them still waits at the end of the time, the others are thawed at once, and that
// one as soon as it returns.
func Guard(limit time.Duration, in io.Reader, out io.Writer) error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	word := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(in, int64(len(done))))
		word <- string(text)
	}()
	w := begin(inherited())
	end := time.After(limit)
	said := w.wait(end, word)
	if said.word != frozen {
		err := w.thaw()
		_, werr := fmt.Fprintln(out, said)
		return errors.Join(err, werr, w.rest())
	}
	if _, err := fmt.Fprintln(out, said); err != nil {
		return errors.Join(err, w.thaw())
	}
	select {
	case text := <-word:
		if text == done {
			return nil
		}
	case <-end:
	}
	return w.thaw()
}

// work is what a guard has frozen, and is about to freeze.
type work struct {
	dirs    []*os.File
	results chan result
	pending map[int]bool
	frozen  []int
}

type result struct {
	place int
	err   error
}

// begin starts to freeze all.
func begin(dirs []*os.File) *work {
	w := &work{dirs: dirs, results: make(chan result, len(dirs)), pending: map[int]bool{}}
	for i, dir := range dirs {
		w.pending[i] = true
		go func() { w.results <- result{i, freeze(dir)} }()
	}
	return w
}

// wait waits until all are frozen, one could not be, the time is over, or the
// process that wants it is gone.
func (w *work) wait(end <-chan time.Time, word <-chan string) report {
	for len(w.pending) > 0 {
		select {
		case r := <-w.results:
			delete(w.pending, r.place)
			if r.err == nil {
				w.frozen = append(w.frozen, r.place)
				continue
			}
			said := report{word: failed, pending: w.waiting(), place: r.place, text: r.err.Error()}
			if errors.Is(r.err, ErrFrozen) {
				said.word = busy
			}
			return said
		case <-end:
			return report{word: late, pending: w.waiting()}
		case <-word:
			return report{word: late, pending: w.waiting()}
		}
	}
	return report{word: frozen}
}

func (w *work) waiting() []int { return slices.Sorted(maps.Keys(w.pending)) }

// thaw thaws what is frozen.
func (w *work) thaw() error {
	var errs []error
	for _, i := range w.frozen {
		_, err := Thaw(w.dirs[i])
		errs = append(errs, err)
	}
	w.frozen = nil
	return errors.Join(errs...)
}

// rest thaws what is still to be frozen, each as soon as it is.
func (w *work) rest() error {
	var errs []error
	for len(w.pending) > 0 {
		r := <-w.results
		delete(w.pending, r.place)
		if r.err == nil {
			_, err := Thaw(w.dirs[r.place])
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// inherited are the directories that Start has passed on: every descriptor from
// firstFD on that is one.
func inherited() []*os.File {
	var dirs []*os.File
	for fd := firstFD; ; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil {
			return dirs
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			unix.CloseOnExec(fd)
			dirs = append(dirs, os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(fd))) //nolint:gosec // small
		}
	}
}
