// Package filesystem makes, checks and grows the filesystems that lie in images:
// ext4, XFS and btrfs. What programs do for it goes through k8s.io/mount-utils;
// growth is asked of the kernel by ioctl, since the programs for it want a path
// in the mount table and a volume's mount need not have one yet. The package
// knows nothing of images, loop devices or volumes.
package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	mountutils "k8s.io/mount-utils"
	utilexec "k8s.io/utils/exec"

	"github.com/hostvol/hostvol/pkg/host/imagefile"
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
// grown: xfsprogs 6 refuses less than 300 MiB, and the kernel resizes no btrfs to
// less than 256 MiB (btrfs-progs 6 makes them of 109 MiB).
func MinBytes(kind string) int64 {
	switch kind {
	case XFS:
		return 300 << 20
	case Btrfs:
		return 256 << 20
	}
	return 4 << 20 // ext4 with a journal
}

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
	if !slices.Contains(Kinds(), kind) {
		return fmt.Errorf("no filesystem %q can be made, only %v", kind, Kinds())
	}
	if err := blank(file); err != nil {
		return fmt.Errorf("make %s in %s: %w", kind, file.Name(), err)
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
		if kind != Btrfs || try == formatTries || ctx.Err() != nil || blank(file) != nil {
			return fmt.Errorf("make %s in %s: %w", kind, file.Name(), err)
		}
	}
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

// Check has fsck look at the filesystem of a block device that is mounted
// nowhere, and repair what it can without loss. The kinds that check themselves
// when they are mounted (XFS, btrfs) cost nothing.
func Check(ctx context.Context, device, kind string) error {
	m := programs(ctx)
	found, err := m.GetDiskFormat(device)
	if err != nil {
		return fmt.Errorf("check %s: %w", device, err)
	}
	if found != kind {
		return fmt.Errorf("check %s: %w: %s is expected, blkid finds %q", device, ErrUnknown, kind, found)
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
	return c
}
