package freeze

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// done is what the guard is told when there is nothing left to guard.
const done = "done\n"

// firstFD is the first of the descriptors that the guard inherits.
const firstFD = 3

// Guard is the guard's whole life. It thaws the filesystems it has inherited when
// limit is over, or when its input ends without a word: then the process that
// froze them is gone. It returns when there is nothing left to do.
func Guard(limit time.Duration, in io.Reader, out io.Writer) error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	dirs := inherited()
	word := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(in, int64(len(done))))
		word <- string(text)
	}()
	end := time.After(limit)
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	select {
	case text := <-word:
		if text == done {
			return nil
		}
	case <-end:
	}
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
