// Package rmtree removes a directory tree whose content somebody else made.
//
// It never follows a symbolic link and never crosses a mount point, works at any
// depth, and knows what stands in the way of a plain removal: immutable files,
// nested btrfs subvolumes, files so large that freeing them at once would stall
// the filesystem. It must not know pools or volumes. It needs root and /proc.
package rmtree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

// ErrMountPoint: something is mounted in the tree. The mount and what is in it
// are left alone.
var ErrMountPoint = dirstack.ErrMountPoint

// Options of Remove. The zero value removes at full speed.
type Options struct {
	// Limiter gives one token for each removed entry and truncation step of
	// 1 GiB; nil is no limit. A subvolume removed whole is one entry.
	Limiter *rate.Limiter
	// Removed, if set, is called with the id of each btrfs subvolume that was
	// deleted, so that its qgroup can be removed.
	Removed func(subvolume uint64)
}

// How often a concurrent change may make the work start again.
const patience = 8

// Remove removes the entry called name of the open directory parent, and
// everything below it. An absent entry is success, so it may be repeated after
// any error: it stops at the first one, or when ctx ends, with part of the tree
// removed. An error names the path below parent; it Is ErrMountPoint when
// something is mounted there. Others may change the tree meanwhile; if they keep
// adding to it the error Is ENOTEMPTY.
//
// A hard link to a file outside the tree loses only this name: the file is
// neither truncated nor changed. parent itself is never modified otherwise.
// Nothing is made durable.
func Remove(ctx context.Context, parent int, name string, o Options) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("remove %q: %w: not a single name", name, fs.ErrInvalid)
	}
	for attempt := 1; ; attempt++ {
		err := removeOnce(ctx, parent, name, o)
		if !errors.Is(err, dirstack.ErrMoved) || attempt == patience {
			return err
		}
	}
}

func removeOnce(ctx context.Context, parent int, name string, o Options) error {
	s, err := dirstack.New(parent)
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	defer s.Close()
	r := &remover{options: o, stack: s}
	err = r.entry(ctx, dirstack.Entry{Name: name})
	for err == nil && s.Depth() > 0 {
		err = r.step(ctx)
	}
	return err
}

// remover is one walk. What it knows of the directories entered is beside the
// stack, as the stack is shared with other packages.
type remover struct {
	options Options
	stack   *dirstack.Stack
	entered []directory
}

type directory struct {
	subvolume uint64 // id when the directory is one
	attempts  int    // how often it was found not empty after it had been emptied
}

// step removes the next entry of the current directory, or the directory when
// none is left.
func (r *remover) step(ctx context.Context) error {
	e, ok, err := r.stack.Next()
	switch {
	case err != nil:
		return r.errorAt("", err)
	case ok:
		return r.entry(ctx, e)
	}
	return r.emptied(ctx)
}

// entry removes an entry of the current directory or, if that takes more than
// one step, enters it.
func (r *remover) entry(ctx context.Context, e dirstack.Entry) error {
	if err := ctx.Err(); err != nil {
		return r.errorAt(e.Name, err)
	}
	dir := e.Type == unix.DT_DIR || e.Type == unix.DT_UNKNOWN
	for attempt := 1; ; attempt++ {
		var err error
		if dir {
			err = r.enter(ctx, e.Name)
		} else {
			err = r.file(ctx, e)
		}
		notDir := errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
		switch {
		case attempt == patience:
			return err
		case dir && notDir:
			dir, e.Type = false, unix.DT_UNKNOWN
		case !dir && errors.Is(err, unix.EISDIR): // replaced since it was listed
			dir = true
		default:
			return err
		}
	}
}

func (r *remover) enter(ctx context.Context, name string) error {
	err := r.stack.Enter(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return r.errorAt(name, err)
	}
	subvolume, err := r.isSubvolume()
	if err != nil {
		return r.errorAt("", err)
	}
	if subvolume == 0 {
		r.entered = append(r.entered, directory{})
		return nil
	}
	return r.enterSubvolume(ctx, name, subvolume)
}

// emptied removes the current directory after its last entry.
func (r *remover) emptied(ctx context.Context) error {
	name, d := r.stack.Name(), r.entered[len(r.entered)-1]
	if err := r.leave(); err != nil {
		return err
	}
	if err := r.token(ctx, name); err != nil {
		return err
	}
	var err error
	if d.subvolume != 0 {
		err = r.deleteSubvolume(name, d.subvolume)
	} else {
		err = r.unlink(name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOTDIR) { // replaced meanwhile
		return r.entry(ctx, dirstack.Entry{Name: name})
	}
	full := errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)
	if !full || d.attempts >= patience {
		return r.errorAt(name, err)
	}
	// Somebody added an entry, or reading skipped one: look again from the start.
	err = r.stack.Enter(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return r.errorAt(name, err)
	}
	d.attempts++
	r.entered = append(r.entered, d)
	return nil
}

func (r *remover) leave() error {
	if err := r.stack.Leave(); err != nil {
		return r.errorAt("", err)
	}
	r.entered = r.entered[:len(r.entered)-1]
	return nil
}

// token waits for the limiter before the entry called name is removed.
func (r *remover) token(ctx context.Context, name string) error {
	err := ctx.Err()
	if err == nil && r.options.Limiter != nil {
		err = r.options.Limiter.Wait(ctx)
		if err != nil && ctx.Err() == nil {
			// The next token comes after the deadline of ctx.
			err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
		}
	}
	return r.errorAt(name, err)
}

func (r *remover) isSubvolume() (id uint64, err error) {
	// The inode number rules out nearly every directory without a system call.
	if _, ino := r.stack.ID(); ino != subvolumeInode {
		return 0, nil
	}
	is, err := btrfs.IsSubvolume(r.stack.FD())
	if err != nil || !is {
		return 0, err
	}
	return btrfs.ID(r.stack.FD())
}

const subvolumeInode = 256

func (r *remover) errorAt(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("remove %s: %w", shorten(r.stack.Path(name)), err)
}

// shorten keeps a path of thousands of levels readable in a message.
func shorten(path string) string {
	const head, tail = 256, 256
	if len(path) <= head+tail {
		return path
	}
	return path[:head] + "[...]" + path[len(path)-tail:]
}
