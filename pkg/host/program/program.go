// Package program puts files where other processes start or read them at any
// moment: an executable that is written is never seen by a child of this process,
// whose copy of the open file would keep everybody from starting it. It owns what
// that takes of system calls, and knows nothing of what the files are for.
package program

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Write makes the file name, which must not exist, with that content and mode, and
// makes it durable; the directory's entry is for the caller to sync. On return
// nobody has the file open for writing, so it can be started. After an error there
// is no file.
//
// While a file is open for writing, a child that is forked has it open too, until
// its exec, and execve(2) of the file gives ETXTBSY; so nothing is forked
// meanwhile. No other process has the file: it is new.
func Write(d *safepath.Dir, name string, content io.Reader, mode os.FileMode) (err error) {
	if err := safepath.Component(name); err != nil {
		return err
	}
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := d.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask is
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.Name(), err), d.Unlink(name))
	}
	return nil
}

// State of an entry of a directory; a symbolic link is not followed. Equal states
// are the same unchanged file: the time of the last change of a file's content,
// mode or owner is in it, and cannot be set.
type State struct {
	Mode  fs.FileMode // type and permissions
	Owner uint32
	Bytes int64

	id     safepath.Identity
	change unix.Timespec
}

// Look reads the state of an entry.
func Look(d *safepath.Dir, name string) (State, error) {
	var st unix.Stat_t
	err := safepath.Component(name)
	if err == nil {
		err = unix.Fstatat(d.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return State{}, &fs.PathError{Op: "stat", Path: filepath.Join(d.Name(), name), Err: err}
	}
	return state(&st), nil
}

// LookAt reads the state of an open directory; removed tells that it is in no
// directory any more.
func LookAt(d *safepath.Dir) (s State, removed bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.FD(), &st); err != nil {
		return State{}, false, &fs.PathError{Op: "stat", Path: d.Name(), Err: err}
	}
	return state(&st), st.Nlink == 0, nil
}

func state(st *unix.Stat_t) State {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	default:
		mode |= fs.ModeIrregular
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		mode |= fs.ModeSetuid
	}
	return State{Mode: mode, Owner: st.Uid, Bytes: st.Size, id: safepath.Identity{Dev: st.Dev, Ino: st.Ino}, change: st.Ctim}
}

// Same tells whether two states are of one inode, changed or not.
func (s State) Same(other State) bool { return s.id == other.id }

// Before tells whether a file was changed last before another one was.
func (s State) Before(other State) bool {
	return unix.TimespecToNsec(s.change) < unix.TimespecToNsec(other.change)
}

// Link gives the entry name a second name, which must not exist. A symbolic link
// is not followed.
func Link(d *safepath.Dir, name, second string) error {
	err := errors.Join(safepath.Component(name), safepath.Component(second))
	if err == nil {
		err = unix.Linkat(d.FD(), name, d.FD(), second, 0)
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: filepath.Join(d.Name(), name), New: second, Err: err}
	}
	return nil
}

// Lock takes an exclusive flock on a directory itself; an error that is
// safepath.ErrLocked tells that another process has it. It is held until the
// returned function is called or the process ends, and writes nothing.
func Lock(d *safepath.Dir) (unlock func() error, err error) {
	again, err := d.OpenDir(".")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(again.FD(), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = again.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = safepath.ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", d.Name(), err)
	}
	return again.Close, nil
}

// NoExec tells whether nothing can be started from the directory's mount.
func NoExec(d *safepath.Dir) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.FD(), &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: d.Name(), Err: err}
	}
	return st.Flags&unix.ST_NOEXEC != 0, nil
}
