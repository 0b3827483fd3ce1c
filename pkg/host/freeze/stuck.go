package freeze

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hostvol/hostvol/pkg/host/run"
)

// StuckError says that the freeze of some filesystems still waits for a write. The
// others of the call are thawed.
type StuckError struct {
	// Stuck are their places among the directories.
	Stuck []int
	// Gone is closed when they are thawed, too, and the guard has ended.
	Gone <-chan struct{}

	err error
}

// Error implements error.
func (e *StuckError) Error() string { return e.err.Error() }

// Unwrap is why the call has failed: ErrEnded, or what another filesystem has said.
func (e *StuckError) Unwrap() error { return e.err }

// follow closes Gone at the guard's end.
func (e *StuckError) follow(guard *run.Child) {
	gone := make(chan struct{})
	e.Gone = gone
	go func() {
		_ = guard.Wait() // what it could not thaw, it has said on its error output
		close(gone)
	}()
}

func every(dirs []*os.File) (all []int) {
	for i := range dirs {
		all = append(all, i)
	}
	return all
}

// report is what the guard says, in one line: a word, the filesystems whose freeze
// still waits ("-" for none), and where it could not freeze one its place and why.
type report struct {
	word    string
	pending []int
	place   int
	text    string
}

// The words of a report.
const (
	frozen = "frozen"
	late   = "late"
	busy   = "busy"
	failed = "failed"
)

func (r report) String() string {
	pending := "-"
	if len(r.pending) > 0 {
		pending = strings.Trim(strings.ReplaceAll(fmt.Sprint(r.pending), " ", ","), "[]")
	}
	return fmt.Sprintf("%s %s %d %s", r.word, pending, r.place, strings.ReplaceAll(r.text, "\n", "; "))
}

func parse(line string) (r report, err error) {
	fields := append(strings.SplitN(line, " ", 4), "", "", "")
	r.word, r.text = fields[0], fields[3]
	if fields[1] != "-" {
		for _, place := range strings.Split(fields[1], ",") {
			i, err := strconv.Atoi(place)
			if err != nil {
				return report{}, err
			}
			r.pending = append(r.pending, i)
		}
	}
	r.place, err = strconv.Atoi(fields[2])
	return r, err
}

// answer turns the guard's line into an error, nil when all are frozen.
func answer(line string, dirs []*os.File) error {
	r, err := parse(line)
	for _, i := range append(r.pending, r.place) {
		if i < 0 || i >= len(dirs) {
			err = errors.New("there is no such filesystem")
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("the guard said %q: %w", line, err)
	case r.word == frozen:
		return nil
	case r.word == late:
		names := ""
		for _, i := range r.pending {
			names += " " + dirs[i].Name()
		}
		err = fmt.Errorf("a write to the filesystem of%s does not end; end the process that writes, or delete its pod: %w", names, ErrEnded)
	case r.word == busy:
		err = fmt.Errorf("the filesystem of %s: %w", dirs[r.place].Name(), ErrFrozen)
	default:
		err = fmt.Errorf("the filesystem of %s: %s", dirs[r.place].Name(), r.text)
	}
	if len(r.pending) > 0 {
		return &StuckError{Stuck: r.pending, err: err}
	}
	return err
}
