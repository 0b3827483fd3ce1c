package dirstack

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Entry is one name in a directory.
type Entry struct {
	Name string
	Type uint8 // unix.DT_DIR and so on; DT_UNKNOWN where the filesystem does not say
}

// bufSize is what one getdents64 may return.
const bufSize = 32 << 10

// reader reads one directory. Its position survives the closing of the
// descriptor: cookies of ext4, XFS and btrfs stay valid, as NFS needs them to.
// On tmpfs before 6.6 they are counts: there, entries that are made or removed
// while the walk is far below may be seen twice or not at all.
type reader struct {
	buf    []byte
	unread []byte
	after  int64 // cookie of the last entry returned
	before int64 // of the one before it
}

// Offsets in struct linux_dirent64, getdents64(2).
const (
	direntOff    = 8
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

func (r *reader) next(fd int) (Entry, bool, error) {
	for {
		if len(r.unread) == 0 {
			if r.buf == nil {
				r.buf = make([]byte, bufSize)
			}
			n, err := unix.Getdents(fd, r.buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if errors.Is(err, unix.ENOENT) {
				n, err = 0, nil // the directory itself was removed meanwhile
			}
			if err != nil || n == 0 {
				return Entry{}, false, err
			}
			r.unread = r.buf[:n]
		}
		d := r.unread
		length := binary.NativeEndian.Uint16(d[direntReclen:])
		r.unread = d[length:]
		r.before = r.after
		r.after = int64(binary.NativeEndian.Uint64(d[direntOff:]))
		name := d[direntName:length]
		name = name[:bytes.IndexByte(name, 0)]
		if s := string(name); s != "." && s != ".." {
			return Entry{Name: s, Type: d[direntType]}, true, nil
		}
	}
}

// again goes back by one entry: the cookie of the last one may stand for the end,
// whatever follows it later (INT_MAX on btrfs). Where the filesystem does not take
// the cookie, all of the directory is read again.
func (r *reader) again(fd int) error {
	r.unread = nil
	r.after = r.before
	err := r.seek(fd)
	if errors.Is(err, unix.EINVAL) {
		r.before, r.after = 0, 0
		err = r.seek(fd)
	}
	return err
}

func (r *reader) drop() { r.buf, r.unread = nil, nil }

func (r *reader) seek(fd int) error {
	_, err := unix.Seek(fd, r.after, unix.SEEK_SET)
	return err
}
