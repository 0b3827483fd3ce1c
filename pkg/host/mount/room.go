package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Room is where a process keeps mounts of its own, which no other process uses.
//
// Linux since 6.15 clones a mount that is attached nowhere: there a descriptor
// keeps it, and nothing shows it. An older kernel clones attached mounts only:
// there the mount is attached below the room's directory, which is a mount with a
// peer group of its own. So no mount reaches the peers of the directory's parent,
// and a mount namespace that is copied meanwhile gets each unmount as well.
type Room struct {
	path string
	// attach means that mounts have to be attached.
	attach bool

	mu   sync.Mutex
	next int
}

// OpenRoom makes the room at a path, which only this process uses. What an earlier
// process has kept there is let go first.
func OpenRoom(path string) (*Room, error) {
	detached, err := clonesDetached(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return openRoom(path, !detached)
}

func openRoom(path string, attach bool) (*Room, error) {
	r := &Room{path: path, attach: attach}
	if err := r.empty(); err != nil || !attach {
		return r, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if err := r.wall(); err != nil {
		return nil, &fs.PathError{Op: "make a mount of its own", Path: path, Err: err}
	}
	return r, nil
}

// clonesDetached tries what the kernel does to a mount that is attached nowhere.
// One without open_tree keeps nothing, and needs no room.
func clonesDetached(path string) (bool, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if lacks(err) {
		return true, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "clone mount", Path: path, Err: err}
	}
	defer unix.Close(tree) //nolint:errcheck // only tried
	second, err := unix.OpenTree(tree, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return false, nil //nolint:nilerr // that is the answer
	}
	return true, unix.Close(second)
}

// empty takes off what lies at the path, with all that is mounted below.
func (r *Room) empty() error {
	for {
		err := unix.Unmount(r.path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		switch {
		case err == nil:
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // no mount, not there
			return nil
		}
		return &fs.PathError{Op: "unmount", Path: r.path, Err: err}
	}
}

// wall puts a mount of the directory on itself. It leaves the peers that it gets
// there before anything is mounted below.
func (r *Room) wall() error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, r.path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(tree) //nolint:errcheck // moved by then
	if err := makePrivate(tree); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, r.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if err := makePrivate(tree); err != nil {
		return err
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: unix.MS_SHARED})
	if lacks(err) { // before Linux 5.12
		return nil
	}
	return err
}

// Close lets go of the room. What is kept in it goes, too.
func (r *Room) Close() error {
	if r == nil {
		return nil
	}
	return r.empty()
}

// Kept is a mount that stays for as long as it is kept, whatever becomes of others
// of the same filesystem. It has no flags of its own.
type Kept struct {
	name string
	fd   int
	room *Room
	// at is where it is attached, "" for nowhere.
	at string
}

// Keep keeps a fresh filesystem or the clone that Clone makes. It takes the source
// over, also after an error.
func (r *Room) Keep(src *Source) (*Kept, error) { return r.keep(src.fd, src.name) }

// keep takes the descriptor of a detached mount over.
func (r *Room) keep(tree int, name string) (k *Kept, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(tree))
		}
	}()
	if err := makePrivate(tree); err != nil {
		return nil, fmt.Errorf("make the mount of %s private: %w", name, err)
	}
	k = &Kept{name: name, fd: tree, room: r}
	if !r.attach {
		return k, nil
	}
	if k.at, err = r.place(); err != nil {
		return nil, err
	}
	err = unix.MoveMount(tree, "", unix.AT_FDCWD, k.at, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if err == nil {
		err = makePrivate(tree) // clones are no peers of it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the mount of %s: %w", name, err), k.take())
	}
	return k, nil
}

// place makes an empty directory in the room.
func (r *Room) place() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		r.next++
		at := filepath.Join(r.path, strconv.Itoa(r.next))
		if err := os.Mkdir(at, 0o700); !errors.Is(err, fs.ErrExist) {
			return at, err
		}
		if err := os.Remove(at); err != nil { // left by an earlier process
			return "", err
		}
	}
}

// take takes the mount off where it is attached.
func (k *Kept) take() error {
	err := unix.Unmount(k.at, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, os.Remove(k.at))
}

// Close lets the mount go. The filesystem goes with the last of its mounts, which
// can be a moment later: a child that was forked meanwhile has the mount open until
// it executes its program. A nil Kept is closed already.
func (k *Kept) Close() error {
	if k == nil {
		return nil
	}
	err := unix.Close(k.fd)
	if k.at != "" {
		err = errors.Join(err, k.take())
	}
	return err
}

// Source is the mount as what can be mounted on targets, each time as a clone. The
// caller closes it; until then the filesystem stays.
func (k *Kept) Source() (*Source, error) {
	fd, err := unix.FcntlInt(uintptr(k.fd), unix.F_DUPFD_CLOEXEC, 0) //nolint:gosec // a descriptor
	if err != nil {
		return nil, fmt.Errorf("open the mount of %s: %w", k.name, err)
	}
	return &Source{name: k.name, fd: fd, kept: true}, nil
}

// FD is the mount's descriptor, valid until Close; it is O_PATH.
func (k *Kept) FD() int { return k.fd }

// OpenRoot opens the root directory of the mount.
func (k *Kept) OpenRoot() (*safepath.Dir, error) { return reopen(k.fd, k.name) }

// clone clones one mount. The clone is attached nowhere, and has no peers.
func clone(fd int) (tree int, err error) {
	tree, err = unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, fmt.Errorf("clone the mount: %w", err)
	}
	if err := makePrivate(tree); err != nil {
		return -1, errors.Join(fmt.Errorf("make the clone private: %w", err), unix.Close(tree))
	}
	return tree, nil
}

// Clone clones the mount of an entry of the mount table, without the flags that it
// has there. It fails with fs.ErrNotExist when another mount, or none, is there now.
func Clone(e Entry) (*Source, error) {
	fd, err := unix.Open(e.Point, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: e.Point, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // only looked at
	id, err := idOf(fd)
	if err == nil && id != e.ID {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open the mount", Path: e.Point, Err: err}
	}
	tree, err := clone(fd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Point, err)
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, plain()); err != nil {
		return nil, errors.Join(fmt.Errorf("clear the flags of a clone of %s: %w", e.Point, err), unix.Close(tree))
	}
	return &Source{name: e.Source, fd: tree, fresh: true}, nil
}

// plain clears every flag that a target can have.
func plain() *unix.MountAttr {
	a := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR__ATIME, Attr_set: unix.MOUNT_ATTR_RELATIME}
	for _, known := range flags() {
		a.Attr_clr |= known.attr
	}
	return &a
}

// idOf is the id of the mount through which a file was opened, as the mount table
// has it.
func idOf(fd int) (string, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	var id string
	for line := range strings.Lines(string(text)) {
		if n, err := fmt.Sscanf(line, "mnt_id:%s", &id); n == 1 && err == nil {
			return id, nil
		}
	}
	return "", errors.New("the kernel does not say which mount it is")
}
