package safepath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The calls below name one entry of the directory; a name with a slash is
// refused, so that no part of it can be a link.

func (d *Dir) entry(op, name string, call func() error) error {
	err := Component(name)
	if err == nil {
		err = call()
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: filepath.Join(d.name, name), Err: err}
	}
	return nil
}

// Mkdir makes a directory. The process's umask applies.
func (d *Dir) Mkdir(name string, perm os.FileMode) error {
	return d.entry("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, uint32(perm.Perm())) })
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	return d.entry("rmdir", name, func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
}

// Unlink removes a file that is not a directory.
func (d *Dir) Unlink(name string) error {
	return d.entry("unlink", name, func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// Rename moves the entry name to the directory to, as newName. It never
// replaces anything: an existing newName gives an error that is fs.ErrExist.
func (d *Dir) Rename(name string, to *Dir, newName string) error {
	if err := Component(newName); err != nil {
		return err
	}
	return d.entry("rename", name, func() error {
		return unix.Renameat2(d.fd, name, to.fd, newName, unix.RENAME_NOREPLACE)
	})
}

// Replace moves the file name over newName in the same directory.
func (d *Dir) Replace(name, newName string) error {
	return d.entry("rename", name, func() error { return unix.Renameat(d.fd, name, d.fd, newName) })
}

// Names lists the directory's entries, in no order.
func (d *Dir) Names() ([]string, error) {
	again, err := d.OpenDir(".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(again.fd), d.name)
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}

// Chown sets the owner of the directory itself; -1 leaves a part as it is.
func (d *Dir) Chown(uid, gid int) error {
	return d.self("chown", unix.Fchown(d.fd, uid, gid))
}

// Chmod sets the mode of the directory itself: permission bits and, as in
// chmod(2), the set-id and sticky bits in octal.
func (d *Dir) Chmod(mode uint32) error {
	return d.self("chmod", unix.Fchmod(d.fd, mode))
}

func (d *Dir) self(op string, err error) error {
	if err != nil {
		return &fs.PathError{Op: op, Path: d.name, Err: err}
	}
	return nil
}
