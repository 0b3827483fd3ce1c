package mount

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Flags are the attributes of one mount that hostvol sets.
type Flags struct {
	ReadOnly, NoSUID, NoDev, NoExec, NoAtime, NoDirAtime bool
}

// flag ties one field to its name in mount(8) and its values in the kernel's
// interfaces. noatime has a special place in mount_setattr(2), see attr.
type flag struct {
	name       string
	of         func(*Flags) *bool
	attr       uint64
	ms, statfs uintptr
}

func flags() []flag {
	return []flag{
		{"ro", func(f *Flags) *bool { return &f.ReadOnly }, unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY, unix.ST_RDONLY},
		{"nosuid", func(f *Flags) *bool { return &f.NoSUID }, unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID, unix.ST_NOSUID},
		{"nodev", func(f *Flags) *bool { return &f.NoDev }, unix.MOUNT_ATTR_NODEV, unix.MS_NODEV, unix.ST_NODEV},
		{"noexec", func(f *Flags) *bool { return &f.NoExec }, unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC, unix.ST_NOEXEC},
		{"noatime", func(f *Flags) *bool { return &f.NoAtime }, unix.MOUNT_ATTR_NOATIME, unix.MS_NOATIME, unix.ST_NOATIME},
		{"nodiratime", func(f *Flags) *bool { return &f.NoDirAtime }, unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME, unix.ST_NODIRATIME},
	}
}

// Options lists the mount options that ParseFlags takes.
func Options() []string {
	names := []string{"rw", "suid", "dev", "exec", "atime", "relatime", "diratime", "bind"}
	for _, f := range flags() {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

// Split reads mount options as mount(8) takes them. Those that name the default
// change nothing; rest are those that are not of a mount but of a filesystem.
func Split(options []string) (flags Flags, rest []string) {
	for _, option := range strings.Split(strings.Join(options, ","), ",") {
		if option = strings.TrimSpace(option); option == "" || flags.set(option) {
			continue
		}
		if !slices.Contains(Options(), option) {
			rest = append(rest, option)
		}
	}
	return flags, rest
}

// ParseFlags is Split where there is no filesystem to take the rest: that is an
// error which lists the known options.
func ParseFlags(options []string) (Flags, error) {
	flags, rest := Split(options)
	if len(rest) > 0 {
		return Flags{}, fmt.Errorf("mount option %q is not allowed; allowed are %s", rest[0], strings.Join(Options(), ", "))
	}
	return flags, nil
}

// set sets the named flag; false when there is none of that name.
func (f *Flags) set(name string) bool {
	for _, known := range flags() {
		if known.name == name {
			*known.of(f) = true
			return true
		}
	}
	return false
}

// String names the flags as mount(8) does.
func (f Flags) String() string {
	var names []string
	for _, known := range flags() {
		if *known.of(&f) {
			names = append(names, known.name)
		}
	}
	if names == nil {
		return "rw"
	}
	return strings.Join(names, ",")
}

func (f Flags) with(more Flags) Flags {
	for _, known := range flags() {
		*known.of(&f) = *known.of(&f) || *known.of(&more)
	}
	return f
}

// attr is what mount_setattr(2) needs, nil for nothing. The access-time modes
// are one field of the kernel: it wants the whole field cleared to set one.
func (f Flags) attr() *unix.MountAttr {
	if f == (Flags{}) {
		return nil
	}
	var a unix.MountAttr
	for _, known := range flags() {
		if *known.of(&f) {
			a.Attr_set |= known.attr
		}
	}
	if f.NoAtime {
		a.Attr_clr |= unix.MOUNT_ATTR__ATIME
	}
	return &a
}

func (f Flags) ms() uintptr {
	var ms uintptr
	for _, known := range flags() {
		if *known.of(&f) {
			ms |= known.ms
		}
	}
	return ms
}

func ofStatfs(bits int64) Flags {
	var f Flags
	for _, known := range flags() {
		*known.of(&f) = uintptr(bits)&known.statfs != 0
	}
	return f
}

// ofDir reads the flags of the mount through which the directory was opened.
func ofDir(d *safepath.Dir) (Flags, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(d.FD(), &st); err != nil {
		return Flags{}, fmt.Errorf("statfs %s: %w", d.Name(), err)
	}
	return ofStatfs(st.Flags), nil
}
