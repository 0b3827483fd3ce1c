package clone

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	defaultACL = "system.posix_acl_default"

	record       = "trusted.hostvol" // what a volume is; a copy is another one
	evmSignature = "security.evm"    // signs the inode number too; the kernel makes a new one

	xfsACL = "trusted.SGI_ACL_" // how XFS stores what it shows as system.posix_acl_* too

	maxAttribute = 64 << 10 // XATTR_SIZE_MAX and XATTR_LIST_MAX, xattr(7)
)

// An original's and a copy's extended attributes.
type (
	source interface {
		list(buf []byte) (int, error)
		get(name string, buf []byte) (int, error)
	}
	target interface {
		set(name string, value []byte) error
	}
)

// fdAttributes are of an open file, linkAttributes of what a link in /proc/self/fd
// stands for, be it a symbolic link, and nameAttributes of what has that path.
type (
	fdAttributes   int
	linkAttributes string
	nameAttributes string
)

func (fd fdAttributes) list(b []byte) (int, error)          { return unix.Flistxattr(int(fd), b) }
func (fd fdAttributes) get(n string, b []byte) (int, error) { return unix.Fgetxattr(int(fd), n, b) }
func (fd fdAttributes) set(n string, v []byte) error        { return unix.Fsetxattr(int(fd), n, v, 0) }

func (l linkAttributes) list(b []byte) (int, error)          { return unix.Listxattr(string(l), b) }
func (l linkAttributes) get(n string, b []byte) (int, error) { return unix.Getxattr(string(l), n, b) }

func (p nameAttributes) set(n string, v []byte) error { return unix.Lsetxattr(string(p), n, v, 0) }

func (b *buffers) copyAttributes(from source, to target) error {
	if b.names == nil {
		b.names = make([]byte, maxAttribute)
	}
	n, err := from.list(b.names)
	if errors.Is(err, unix.EOPNOTSUPP) || n == 0 && err == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for raw := range bytes.SplitSeq(b.names[:n], []byte{0}) {
		name := string(raw)
		if name == "" || name == record || name == evmSignature || strings.HasPrefix(name, xfsACL) {
			continue
		}
		if err := b.copyAttribute(from, to, name); err != nil {
			return fmt.Errorf("copy extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func (b *buffers) copyAttribute(from source, to target, name string) error {
	value := b.value(maxAttribute)
	n, err := from.get(name, value)
	if errors.Is(err, unix.ENODATA) {
		return nil // gone
	}
	if err == nil {
		err = to.set(name, value[:n])
	}
	if errors.Is(err, unix.EOPNOTSUPP) && !essential(name) {
		return nil
	}
	return err
}

// essential is false for attributes that belong to one filesystem or to a
// security module, such as btrfs.compression: another kind of copy has no use for them.
func essential(name string) bool {
	for _, prefix := range []string{"user.", "trusted.", "system.posix_acl_", "security.capability"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (b *buffers) value(size int) []byte {
	if len(b.values) < size {
		b.values = make([]byte, maxAttribute)
	}
	return b.values
}
