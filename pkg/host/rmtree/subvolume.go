package rmtree

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/btrfs"
)

// enterSubvolume deletes the subvolume that was just entered, in one step if it
// can, else by its content.
func (r *remover) enterSubvolume(ctx context.Context, name string, id uint64) error {
	mounted, err := mountWithin(r.stack.FD(), name)
	if err != nil {
		return r.errorAt("", err)
	}
	if mounted != "" {
		// The kernel would detach it instead of refusing.
		return r.errorAt("", &mountedError{mounted})
	}
	r.entered = append(r.entered, directory{subvolume: id})
	if err := r.leave(); err != nil {
		return err
	}
	if err := r.token(ctx, name); err != nil {
		return err
	}
	err = r.deleteSubvolume(name, id)
	// EPERM is how the kernel refuses the default subvolume, one being sent, and
	// one with an active swap file; their content is as unwanted.
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EPERM) {
		return r.errorAt(name, err)
	}
	err = r.stack.Enter(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return r.errorAt(name, err)
	}
	r.entered = append(r.entered, directory{subvolume: id})
	if err := btrfs.SetReadOnly(r.stack.FD(), false); err != nil {
		return r.errorAt("", err)
	}
	return nil
}

// deleteSubvolume deletes a subvolume of the current directory by its name.
func (r *remover) deleteSubvolume(name string, id uint64) error {
	err := btrfs.DeleteSubvolume(r.stack.FD(), name)
	if errors.Is(err, unix.EPERM) {
		p, cleared := r.unprotect(name)
		if cleared {
			err = btrfs.DeleteSubvolume(r.stack.FD(), name)
		}
		p.release()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && r.options.Removed != nil {
		r.options.Removed(id)
	}
	return err
}
