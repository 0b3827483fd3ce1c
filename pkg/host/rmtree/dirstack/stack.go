// Package dirstack walks directory trees of any depth with few open files.
//
// A Stack is the chain of directories from a root to where the walk stands. It
// keeps the deepest ones open and gets back to the others by "..", checking that
// it arrives where it came from, so neither the limit on open files nor the
// length of paths bounds the depth. It never follows a symbolic link and never
// crosses a mount point. What is done with the entries is the caller's affair.
package dirstack

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrMountPoint: something is mounted on the entry; the walk stops before it.
	ErrMountPoint = errors.New("is a mount point")
	// ErrMoved: a directory was moved while the walk was below it.
	ErrMoved = errors.New("directory was moved during the walk")
)

// keepOpen directories stay open, and their unread entries in memory.
const keepOpen = 32

// Stack is used by one goroutine at a time.
type Stack struct {
	root   int
	frames []frame // the root is the first
}

type frame struct {
	name     string
	fd       int // -1: closed to save descriptors
	dev, ino uint64
	reader   reader
}

// New returns a stack that stands in the open directory root, which stays the
// caller's, must stay open, and is not moved in.
//
// It fails without /proc, which Reopen and its callers' own ways to what is open
// need.
func New(root int) (*Stack, error) {
	if err := needProc(); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(root, ".", dirFlags, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	s := &Stack{root: root}
	if err := s.push(".", fd); err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return s, nil
}

// Close releases all descriptors.
func (s *Stack) Close() {
	for i := range s.frames {
		s.frames[i].close()
	}
	s.frames = nil
}

// Depth is the number of directories entered below the root.
func (s *Stack) Depth() int { return len(s.frames) - 1 }

// FD is the current directory, open for reading until the next Enter or Leave.
func (s *Stack) FD() int { return s.top().fd }

// ID is the device and inode number of the current directory.
func (s *Stack) ID() (dev, ino uint64) { return s.top().dev, s.top().ino }

// Name is the last name entered, "." in the root.
func (s *Stack) Name() string { return s.top().name }

// Path is the way from the root to the entry called name of the current
// directory ("" for the directory itself). It may be longer than PATH_MAX.
func (s *Stack) Path(name string) string {
	var b strings.Builder
	for _, f := range s.frames[1:] {
		b.WriteString(f.name)
		b.WriteByte('/')
	}
	if name != "" {
		return b.String() + name
	}
	if b.Len() == 0 {
		return "."
	}
	return strings.TrimSuffix(b.String(), "/")
}

// Enter makes the directory called name the current one. On error nothing has
// changed. The error Is ErrMountPoint, ENOTDIR or ELOOP (not a directory), or
// fs.ErrNotExist.
func (s *Stack) Enter(name string) error {
	fd, err := OpenDir(s.FD(), name)
	if err != nil {
		return err
	}
	if err := s.push(name, fd); err != nil {
		return err
	}
	if i := len(s.frames) - 1 - keepOpen; i >= 0 {
		s.frames[i].close()
	}
	return nil
}

// Leave makes the parent directory the current one again; reading it goes on
// where it was. Not to be called in the root. The error Is ErrMoved when the
// way back is gone; after an error only Path and Close may follow.
func (s *Stack) Leave() error {
	from := s.top()
	to := &s.frames[len(s.frames)-2]
	if to.fd < 0 {
		if err := s.reopen(to, from.fd); err != nil {
			return err
		}
	}
	from.close()
	s.frames = s.frames[:len(s.frames)-1]
	return nil
}

// Next returns the next entry of the current directory, without "." and "..";
// ok is false at the end.
func (s *Stack) Next() (e Entry, ok bool, err error) {
	return s.top().reader.next(s.FD())
}

// Again goes back from the end of the current directory, so that Next returns what
// was added behind it since; the last entry comes once more, others may.
//
// btrfs numbers entries in the order in which they come, gives a name that is
// renamed over a new number, and returns no number above the highest at the time
// of opendir(3) or lseek(2): what is replaced meanwhile is found here and nowhere
// else.
func (s *Stack) Again() error { return s.top().reader.again(s.FD()) }

func (s *Stack) top() *frame { return &s.frames[len(s.frames)-1] }

func (s *Stack) push(name string, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return err
	}
	s.frames = append(s.frames, frame{name: name, fd: fd, dev: st.Dev, ino: st.Ino})
	return nil
}

func (s *Stack) reopen(f *frame, below int) error {
	from, path := below, ".."
	if f == &s.frames[0] {
		from, path = s.root, "."
	}
	fd, err := unix.Openat(from, path, dirFlags, 0)
	if err != nil {
		return fmt.Errorf("open parent directory: %w", err)
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Dev != f.dev || st.Ino != f.ino) {
		err = ErrMoved
	}
	if err == nil {
		err = f.reader.seek(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	f.fd = fd
	return nil
}

func (f *frame) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
	f.reader.drop()
}
