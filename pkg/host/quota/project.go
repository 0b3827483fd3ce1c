package quota

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnsupported: the filesystem cannot enforce project quotas as it is mounted.
// The message says what to do.
var ErrUnsupported = errors.New("project quotas are not enforced")

// Project is the project quota of one filesystem. It is safe for concurrent use.
type Project struct {
	fd     int
	device string // used instead of fd on kernels without quotactl_fd
	unit   int64  // bytes of a block, the unit of limits
}

// Open returns the project quota of the filesystem of fd, which stays the
// caller's. The error Is ErrUnsupported when the kernel does not count and
// enforce project quotas there. The result keeps the filesystem busy until Close.
func Open(fd int) (*Project, error) {
	p, err := open(fd)
	if err != nil {
		return nil, fmt.Errorf("open project quota: %w", err)
	}
	return p, nil
}

func open(fd int) (*Project, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return nil, err
	}
	switch uint32(st.Type) {
	case unix.XFS_SUPER_MAGIC, unix.EXT4_SUPER_MAGIC:
	default:
		return nil, fmt.Errorf("%w: filesystem type %#x has none; use XFS or ext4", ErrUnsupported, uint32(st.Type))
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p := &Project{fd: own, unit: max(st.Bsize, basicBlock)}
	if err := p.check(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Project) check() error {
	flags, err := p.state()
	if errors.Is(err, unix.ENOSYS) {
		// Either the kernel lacks quotactl_fd, or the filesystem has no quota.
		if !kernelHasQuotactlFD() {
			if p.device, err = deviceOf(p.fd); err != nil {
				return err
			}
			flags, err = p.state()
		}
	}
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: none is enabled (%w); mount the filesystem with -o prjquota, "+
			"on ext4 after tune2fs -O project,quota -Q prjquota", ErrUnsupported, err)
	case err != nil:
		return fmt.Errorf("get quota state: %w", err)
	case flags&projectAccounted == 0:
		return fmt.Errorf("%w: they are not counted; mount the filesystem with -o prjquota", ErrUnsupported)
	case flags&projectEnforced == 0:
		return fmt.Errorf("%w: they are only counted; mount the filesystem with -o prjquota, not pqnoenforce", ErrUnsupported)
	}
	return nil
}

// Close lets go of the filesystem.
func (p *Project) Close() error { return unix.Close(p.fd) }

// Enforced reports whether the kernel still counts and enforces project quotas;
// an administrator can turn both off on a mounted filesystem.
func (p *Project) Enforced() (bool, error) {
	flags, err := p.state()
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get quota state: %w", err)
	}
	const both = projectAccounted | projectEnforced
	return flags&both == both, nil
}

// Usage is what counts for one project. LimitBytes is 0 when there is no limit.
type Usage struct {
	Bytes, Inodes, LimitBytes int64
}

// Read returns the usage of a project, zero for one that is not in use. Its
// cost does not depend on how many files or projects there are.
func (p *Project) Read(id uint32) (Usage, error) {
	q, err := p.get(id)
	if err != nil {
		return Usage{}, fmt.Errorf("read project %d: %w", id, err)
	}
	return Usage{Bytes: fromBlocks(q.blocks), Inodes: clamp(q.inodes), LimitBytes: fromBlocks(q.blockHard)}, nil
}

// InUse reports whether a project has any usage or limit, so that its id must
// not be given to another.
func (p *Project) InUse(id uint32) (bool, error) {
	q, err := p.get(id)
	if err != nil {
		return false, fmt.Errorf("read project %d: %w", id, err)
	}
	return q.blocks|q.inodes|q.blockHard|q.blockSoft|q.inodeHard|q.inodeSoft|q.rtHard|q.rtSoft|q.rtBlocks != 0, nil
}

// SetLimit sets the hard limit of a project, rounded up to the filesystem's
// block size; 0 takes it away. A limit below what is used stops further writes
// only. On ext4 it does not bind writers with CAP_SYS_RESOURCE. The change is
// journalled but not durable before the filesystem's next commit.
func (p *Project) SetLimit(id uint32, bytes int64) error {
	if id == 0 || bytes < 0 || bytes > math.MaxInt64-p.unit {
		return fmt.Errorf("limit project %d to %d bytes: %w", id, bytes, unix.EINVAL)
	}
	q := diskQuota{
		version:   dquotVersion,
		flags:     projectQuotaFlag,
		fieldMask: fieldBlockHard | fieldBlockSoft, // a soft limit above the hard one is refused
		id:        id,
		blockHard: toBlocks(bytes, p.unit),
	}
	if err := p.call(qXSetLimit, id, unsafe.Pointer(&q)); err != nil {
		return fmt.Errorf("limit project %d to %d bytes: %w", id, bytes, err)
	}
	return nil
}

func (p *Project) get(id uint32) (diskQuota, error) {
	q := diskQuota{version: dquotVersion}
	err := p.call(qXGetQuota, id, unsafe.Pointer(&q))
	if errors.Is(err, unix.ENOENT) {
		return diskQuota{}, nil // XFS makes the record with the first block or limit
	}
	return q, err
}

func (p *Project) state() (flags uint16, err error) {
	s := quotaState{version: stateVersion}
	err = p.call(qXGetStateV, 0, unsafe.Pointer(&s))
	return s.flags, err
}

func (p *Project) call(command uintptr, id uint32, arg unsafe.Pointer) error {
	if p.device != "" {
		return quotactlDevice(p.device, command, id, arg)
	}
	return quotactlFD(p.fd, command, id, arg)
}

func toBlocks(bytes, unit int64) uint64 {
	return uint64((bytes+unit-1)/unit*unit) / basicBlock
}

func fromBlocks(blocks uint64) int64 {
	if blocks > math.MaxInt64/basicBlock {
		return math.MaxInt64
	}
	return int64(blocks) * basicBlock
}

func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
