//go:build power

package power

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	fs "github.com/hostvol/hostvol/pkg/host/filesystem"
)

// A text has a block of a raw device: it is all or nothing in a cut.
const blockBytes = 4096

// blockOf is where a text lies in a device, whose smallest size is a mebibyte.
func blockOf(name string) int64 {
	return int64(slices.Index(textNames(), name)) * mebibyte / int64(len(textNames()))
}

func putBlock(target, name, text string) error {
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	block := make([]byte, blockBytes)
	copy(block, spread(text))
	_, err = f.WriteAt(block, blockOf(name))
	return errors.Join(err, f.Sync(), f.Close())
}

func getBlocks(target string) (map[string]string, error) {
	f, err := os.Open(target)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]string{}
	block := make([]byte, blockBytes)
	for _, name := range textNames() {
		if _, err := f.ReadAt(block, blockOf(name)); err != nil {
			return nil, err
		}
		if data := bytes.TrimRight(block, "\x00"); len(data) > 0 {
			out[name] = gather(string(data))
		}
	}
	return out, nil
}

func deviceLimit(_, target string) (int64, error) {
	f, err := os.Open(target)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}

// ext4Limit is the device's size. A filesystem that does not reach its end, but for a group that would be too small,
// has not grown with it.
func ext4Limit(_, target string) (int64, error) {
	device, size, err := deviceOf(target)
	if err != nil {
		return 0, err
	}
	fills, err := fs.Measure(device, fs.Ext4)
	if err == nil && fills.Bytes <= size-mebibyte {
		err = fmt.Errorf("the filesystem has %d bytes, its device %d", fills.Bytes, size)
	}
	return size, err
}

// deviceOf is the device whose filesystem is mounted at the target, and its size in bytes.
func deviceOf(target string) (device string, size int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(target, &st); err != nil {
		return "", 0, err
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return "", 0, err
	}
	device = filepath.Join("/dev", filepath.Base(link))
	size, err = deviceLimit("", device)
	return device, size, err
}

// xfsLimit is the device's size. What a mounted XFS has grown to, only the kernel knows: all but its log.
func xfsLimit(_, target string) (int64, error) {
	_, size, err := deviceOf(target)
	var st unix.Statfs_t
	if err == nil {
		err = unix.Statfs(target, &st)
	}
	if shown := int64(st.Blocks) * st.Bsize; err == nil && shown < size-96*mebibyte {
		err = fmt.Errorf("the filesystem shows %d bytes, its device has %d", shown, size)
	}
	return size, err
}
