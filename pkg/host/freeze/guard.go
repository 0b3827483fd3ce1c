package freeze

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// done is what the guard is told when there is nothing left to guard.
const done = "done\n"

// firstFD is the first of the descriptors that the guard inherits.
const firstFD = 3

// What the guard says, with the number of a filesystem where it could not freeze.
const (
	frozen = "frozen"
	busy   = "busy"
	failed = "failed"
)

// Guard is the guard's whole life. It freezes the filesystems it has inherited,
// says so, and thaws them when limit is over, or when its input ends without a
// word: then the process that wanted them frozen is gone. It returns when there is
// nothing left to do.
func Guard(limit time.Duration, in io.Reader, out io.Writer) error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	dirs := inherited()
	word := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(in, int64(len(done))))
		word <- string(text)
	}()
	end := time.After(limit)
	// Whatever happens meanwhile is seen afterwards: a freeze cannot be interrupted.
	for i, dir := range dirs {
		err := freeze(dir)
		if err == nil {
			continue
		}
		err = errors.Join(thaw(dirs[:i]), err)
		text := fmt.Sprintf("%s %d %s", failed, i, strings.ReplaceAll(err.Error(), "\n", "; "))
		if errors.Is(err, ErrFrozen) {
			text = fmt.Sprintf("%s %d", busy, i)
		}
		_, err = fmt.Fprintln(out, text)
		return err
	}
	if _, err := fmt.Fprintln(out, frozen); err != nil {
		return errors.Join(err, thaw(dirs))
	}
	select {
	case text := <-word:
		if text == done {
			return nil
		}
	case <-end:
	}
	return thaw(dirs)
}

func thaw(dirs []*os.File) error {
	var errs []error
	for _, dir := range dirs {
		_, err := Thaw(dir)
		errs = append(errs, err)
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
