// Package filesystem makes, checks and grows the filesystems that lie in images:
// ext4, XFS and btrfs. What programs do for it goes through k8s.io/mount-utils;
// growth is asked of the kernel by ioctl, since the programs for it want a path
// in the mount table and a volume's mount need not have one yet. The package
// knows nothing of images, loop devices or volumes.
package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	mountutils "k8s.io/mount-utils"
	utilexec "k8s.io/utils/exec"

	"github.com/hostvol/hostvol/pkg/host/imagefile"
	"github.com/hostvol/hostvol/pkg/host/run"
)

// The kinds of filesystems, as mount(8) names them.
const (
	Ext4  = "ext4"
	XFS   = "xfs"
	Btrfs = "btrfs"
)

// Kinds lists them all, for messages.
func Kinds() []string { return []string{Ext4, XFS, Btrfs} }

// MinBytes is the size of the smallest filesystem of a kind that can be made and
// grown: xfsprogs 6 refuses less than 300 MiB, the kernel resizes no btrfs to less
// than 256 MiB (btrfs-progs 6 makes them of 109 MiB), and mke2fs gives no journal to
// an ext4 of less than 2048 blocks.
func MinBytes(kind string) int64 {
	switch kind {
	case XFS:
		return 300 << 20
	case Btrfs:
		return 256 << 20
	}
	return 2048 * ext4BlockBytes
}

// ext4BlockBytes is the block size of every ext4 that is made here. mke2fs takes
// 1 KiB for those below 512 MiB, and such a filesystem never grows beyond 1 TiB.
const ext4BlockBytes = 4096

var (
	// ErrNotBlank: there is data where a filesystem was to be made.
	ErrNotBlank = errors.New("it is not blank, and is never formatted")
	// ErrUnknown: there is no filesystem of the kind, or one that is damaged beyond
	// recognition.
	ErrUnknown = errors.New("its filesystem is not what it was; it is left as it is and never formatted")
	// ErrDamaged: the check found what it cannot repair by itself.
	ErrDamaged = errors.New("its filesystem has errors that fsck does not repair without a person")
)

// Format makes a filesystem in an open file that has never been written to: one
// that holds data, or whose filesystem cannot tell, is ErrNotBlank. Options are
// arguments for mkfs. What was written is durable after the next fsync.
func Format(ctx context.Context, file *os.File, kind string, options []string) error {
	return format(ctx, file, kind, options, func() error { return blank(file) })
}

// FormatDisk makes a filesystem on an open block device that holds nothing but
// zeros. All of it is read to prove that, since no signature that is known says
// little: data of another kind is data, too. One that holds something is
// ErrNotBlank.
func FormatDisk(ctx context.Context, disk *os.File, kind string) error {
	if err := zeros(ctx, disk); err != nil {
		return fmt.Errorf("make %s on %s: %w", kind, disk.Name(), err)
	}
	// What is begun is not cut short.
	ctx = context.WithoutCancel(ctx)
	return format(ctx, disk, kind, nil, func() error { return nil })
}

func format(ctx context.Context, file *os.File, kind string, options []string, proof func() error) error {
	if !slices.Contains(Kinds(), kind) {
		return fmt.Errorf("no filesystem %q can be made, only %v", kind, Kinds())
	}
	if err := proof(); err != nil {
		return fmt.Errorf("make %s in %s: %w", kind, file.Name(), err)
	}
	if kind == Ext4 { // first: the caller's own -b wins
		options = append([]string{"-b", strconv.Itoa(ext4BlockBytes)}, options...)
	}
	m := programs(ctx)
	// Fails, too, when blkid finds something: then it would not format, but check.
	if found, err := m.GetDiskFormat(imagefile.Path(file)); err != nil {
		return fmt.Errorf("make %s in %s: look at it with blkid: %w", kind, file.Name(), err)
	} else if found != "" {
		return fmt.Errorf("make %s in %s: %w: blkid finds %q", kind, file.Name(), ErrNotBlank, found)
	}
	for try := 1; ; try++ {
		err := m.FormatAndMountSensitiveWithFormatOptions(imagefile.Path(file), "nowhere", kind, nil, nil, options)
		if err == nil {
			return nil
		}
		// mkfs.btrfs looks at all loop devices that are mounted, and fails, before it
		// has written anything, when one goes meanwhile.
		if kind != Btrfs || try == formatTries || ctx.Err() != nil || proof() != nil {
			return fmt.Errorf("make %s in %s: %w", kind, file.Name(), err)
		}
	}
}

// Kind is the filesystem on a device of which nothing is known; "" for nothing that
// blkid knows, which does not prove that nothing is there. Where exactly one of
// Kinds has its superblock on the device, that is the answer: blkid also judges by
// bytes that whoever writes to the filesystem controls.
func Kind(ctx context.Context, device string) (string, error) {
	var have []string
	for _, kind := range Kinds() {
		_, err := Measure(device, kind)
		if err == nil {
			have = append(have, kind)
		} else if !errors.Is(err, ErrUnknown) {
			return "", err
		}
	}
	if len(have) == 1 {
		return have[0], nil
	}
	found, err := programs(ctx).GetDiskFormat(device)
	if err != nil {
		return "", fmt.Errorf("look at %s with blkid: %w", device, err)
	}
	return found, nil
}

// formatTries is how often a filesystem is tried to be made.
const formatTries = 3

// blank proves that a file holds no data at all: not even zeros were written.
func blank(file *os.File) error {
	at, err := unix.Seek(int(file.Fd()), 0, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: where its data is cannot be told: %w", ErrNotBlank, err)
	}
	return fmt.Errorf("%w: it has data at byte %d", ErrNotBlank, at)
}

// zerosRead is how much of a disk is read at a time, in bytes.
const zerosRead = 4 << 20

// zeros proves that a disk holds nothing but zeros.
func zeros(ctx context.Context, disk *os.File) error {
	buf, zero := make([]byte, zerosRead), make([]byte, zerosRead)
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %d MiB were read in the time there was, all zeros; make the filesystem by hand (mkfs), or raise the time: %w", ErrNotBlank, at>>20, err)
		}
		n, err := disk.ReadAt(buf, at)
		if !bytes.Equal(buf[:n], zero[:n]) {
			return fmt.Errorf("%w: it has data within the 4 MiB at byte %d; if it is of no use, overwrite it (blkdiscard -z) or make the filesystem by hand (mkfs)", ErrNotBlank, at)
		}
		_ = unix.Fadvise(int(disk.Fd()), at, int64(n), unix.FADV_DONTNEED)
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotBlank, err)
		}
	}
}

// FormatOver is FormatDisk for a disk of which the caller knows that nothing on it
// was ever of use, such as one that it has just made. A disk that is in use is left.
func FormatOver(ctx context.Context, path string, disk *os.File, kind string) error {
	// A mkfs that somebody has started before has it open in this way, too.
	alone, err := os.OpenFile(path, os.O_WRONLY|unix.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("make %s: %w", kind, err)
	}
	size, err := alone.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = alone.WriteAt(make([]byte, min(size, zerosRead)), 0)
	}
	if err = errors.Join(err, alone.Sync(), alone.Close()); err != nil {
		return fmt.Errorf("make %s: erase the beginning of %s: %w", kind, path, err)
	}
	return format(ctx, disk, kind, nil, func() error { return nil })
}

// Check has fsck look at the filesystem of a block device that is mounted
// nowhere, and repair what it can without loss. The kinds that check themselves
// when they are mounted (XFS, btrfs) cost nothing. Only the superblock of the kind
// is looked at: blkid would also find labels in what the filesystem's users wrote.
func Check(ctx context.Context, device, kind string) error {
	if _, err := Measure(device, kind); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if kind != Ext4 {
		return nil
	}
	// Not mount-utils' "format and mount", which formats if its own look finds
	// nothing. What repairs is not cut short when a call's time is over.
	return repair(context.WithoutCancel(ctx), "-p", device)
}

// repair has e2fsck repair what it can without loss; 1 tells that it did.
func repair(ctx context.Context, args ...string) error {
	out, err := commands(ctx).Command("e2fsck", args...).CombinedOutput()
	var exit utilexec.ExitError
	switch {
	case err == nil || errors.As(err, &exit) && exit.ExitStatus() == 1:
		return nil
	case exit != nil && exit.ExitStatus()&4 != 0: // others: it was in use, or could not work
		err = fmt.Errorf("%w; run e2fsck on a copy of the image: %w", ErrDamaged, err)
	}
	return fmt.Errorf("e2fsck %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
}

// programs runs mkfs, fsck and resize2fs as mount-utils does, without its mount.
func programs(ctx context.Context) *mountutils.SafeFormatAndMount {
	return &mountutils.SafeFormatAndMount{Interface: noMount{}, Exec: commands(ctx)}
}

// noMount takes the mount out of "format and mount": where and how a volume is
// mounted is not this package's to say.
type noMount struct{ mountutils.Interface }

// MountSensitive implements mountutils.Interface.
func (noMount) MountSensitive(string, string, string, []string, []string) error { return nil }

// bound runs programs that end with the context, in the C locale.
type bound struct {
	utilexec.Interface
	ctx context.Context //nolint:containedctx // the interface of mount-utils has none in its calls
}

func commands(ctx context.Context) utilexec.Interface { return bound{utilexec.New(), ctx} }

// Command implements utilexec.Interface.
func (b bound) Command(cmd string, args ...string) utilexec.Cmd {
	c := b.CommandContext(b.ctx, cmd, args...)
	c.SetEnv(append(os.Environ(), "LC_ALL=C"))
	return toFile{c}
}

// toFile is a program whose output goes to a file: one that outlives this process,
// in the middle of a repair, is not ended by a pipe that nobody reads.
type toFile struct{ utilexec.Cmd }

// CombinedOutput implements utilexec.Cmd.
func (c toFile) CombinedOutput() ([]byte, error) {
	out, err := run.NewCapture()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c.SetStdout(out.File())
	c.SetStderr(out.File())
	err = c.Run()
	return []byte(out.String()), err
}
