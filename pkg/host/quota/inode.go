package quota

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// ProjectOf returns the project of an open file or directory (not O_PATH), and
// whether what is made in the directory gets the same. The error Is ENOTTY or
// EOPNOTSUPP where the filesystem has no project ids.
func ProjectOf(fd int) (id uint32, inherit bool, err error) {
	var a attributes
	if err := ioctl(fd, iocGetAttributes, &a); err != nil {
		return 0, false, fmt.Errorf("get project id: %w", err)
	}
	return a.project, a.flags&projectInherit != 0, nil
}

// SetProject sets the project of an open file or directory and, for a directory,
// whether what is made in it gets the same. What it used moves to the new
// project at once, even beyond that one's limit.
func SetProject(fd int, id uint32, inherit bool) error {
	var a attributes
	if err := ioctl(fd, iocGetAttributes, &a); err != nil {
		return fmt.Errorf("set project id %d: %w", id, err)
	}
	flags := uint64(a.flags)
	if was := a; change(&flags, &a.project, id, inherit) {
		a.flags = uint32(flags)
		if err := ioctl(fd, iocSetAttributes, &a); err != nil {
			return fmt.Errorf("set project id %d, was %d: %w", id, was.project, err)
		}
	}
	return nil
}

func change(flags *uint64, project *uint32, id uint32, inherit bool) bool {
	want := *flags &^ projectInherit
	if inherit {
		want |= projectInherit
	}
	changes := *project != id || *flags != want
	*project, *flags = id, want
	return changes
}

// errNoProject: this file cannot have a project id on this kernel, or this
// filesystem keeps none for its type.
var errNoProject = errors.New("file has no project id")

// entry is one file of a tree that is being walked, held by an O_PATH descriptor.
type entry struct {
	path int
	dir  bool
	kind uint32
}

// openEntry looks at an entry without an effect on it.
func openEntry(dir int, name string) (entry, error) {
	fd, err := dirstack.OpenPath(dir, name)
	if err != nil {
		return entry{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return entry{}, err
	}
	kind := st.Mode & unix.S_IFMT
	return entry{path: fd, dir: kind == unix.S_IFDIR, kind: kind}, nil
}

func (e entry) close() { _ = unix.Close(e.path) }

// project is like ProjectOf. Kernels before 6.17 know it only for files that can
// be opened without an effect: regular ones and directories.
func (e entry) project() (id uint32, inherit bool, err error) {
	var a fileAttr
	err = fileAttrs(unix.SYS_FILE_GETATTR, e.path, &a)
	if !fallback(err) {
		return a.project, a.flags&projectInherit != 0, e.ignorable(err)
	}
	fd, err := e.reopen()
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = unix.Close(fd) }()
	return ProjectOf(fd)
}

func (e entry) setProject(id uint32) error {
	var a fileAttr
	err := fileAttrs(unix.SYS_FILE_GETATTR, e.path, &a)
	if err == nil && change(&a.flags, &a.project, id, e.dir && id != 0) {
		err = fileAttrs(unix.SYS_FILE_SETATTR, e.path, &a)
	}
	if !fallback(err) {
		return e.ignorable(err)
	}
	fd, err := e.reopen()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return SetProject(fd, id, e.dir && id != 0)
}

func fallback(err error) bool { return errors.Is(err, unix.ENOSYS) }

// ignorable turns the refusal of a special file into errNoProject: ext4 keeps
// the id of its directory for it but has no way to change it.
func (e entry) ignorable(err error) error {
	special := !e.dir && e.kind != unix.S_IFREG
	if special && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY)) {
		return errNoProject
	}
	return err
}

func (e entry) reopen() (int, error) {
	if !e.dir && e.kind != unix.S_IFREG {
		return -1, errNoProject
	}
	return dirstack.Reopen(e.path, unix.O_RDONLY|unix.O_NONBLOCK)
}
