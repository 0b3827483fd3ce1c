// Package lvm owns the command line of LVM: it finds, makes, enlarges and activates
// logical volumes. What is on them is not its concern.
package lvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/run"
)

// ErrNotFound means that there is no such logical volume, or no such group.
var ErrNotFound = errors.New("there is no such logical volume")

// Create and the making of the first filesystem are told apart from each other, and
// from somebody's data, by tags, which LVM keeps with the volume.
const (
	// tagBlank is on a volume that Create has made, until Used.
	tagBlank = "hostvol.blank"
	// tagMaking is on one of these from Make on: nothing was found on it.
	tagMaking = "hostvol.making"
)

// Volume is a logical volume.
type Volume struct {
	Group, Name string
	Bytes       int64
	// Path is that of its device node, if it is active.
	Path   string
	Active bool
	// Open tells that somebody has the device open, or mounted.
	Open bool
	Tags []string
}

// Blank tells whether Create has made it, and nobody has had it yet.
func (v Volume) Blank() bool { return slices.Contains(v.Tags, tagBlank) }

// Making tells of a blank one that Make was called: what is on it is what has been
// made since.
func (v Volume) Making() bool { return slices.Contains(v.Tags, tagMaking) }

// nameLimit is the longest name, in bytes.
const nameLimit = 127

// CheckName checks the name of a group or a volume, as lvm(8) has it.
func CheckName(s string) error {
	if s == "" || len(s) > nameLimit || s == "." || s == ".." || s[0] == '-' || strings.ContainsFunc(s, notInName) {
		return fmt.Errorf("%q is not a name that LVM takes: letters, digits and + _ . -, no dash at its beginning", s)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("+_.-", r)
}

// report is what lvs prints.
type report struct {
	Report []struct {
		LV []struct {
			Name   string `json:"lv_name"`
			Size   string `json:"lv_size"`
			Path   string `json:"lv_path"`
			Active string `json:"lv_active"`
			Open   string `json:"lv_device_open"`
			Tags   string `json:"lv_tags"`
		} `json:"lv"`
	} `json:"report"`
}

// Find finds a volume. It fails with ErrNotFound when the group can be read and has
// none of that name, or there is no such group.
func Find(ctx context.Context, group, volume string) (Volume, error) {
	if err := errors.Join(CheckName(group), CheckName(volume)); err != nil {
		return Volume{}, err
	}
	var out bytes.Buffer
	said, err := run.Do(ctx, program(&out, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
		"-o", "lv_name,lv_size,lv_path,lv_active,lv_device_open,lv_tags", "-S", `lv_name="`+volume+`"`, "--", group))
	if err != nil {
		if strings.Contains(said, "not found") {
			return Volume{}, fmt.Errorf("volume group %s: %w: %s", group, ErrNotFound, said)
		}
		return Volume{}, fmt.Errorf("read volume group %s: %w: %s", group, err, said)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return Volume{}, fmt.Errorf("read volume group %s: lvs printed no JSON: %w", group, err)
	}
	for _, part := range r.Report {
		for _, lv := range part.LV {
			if lv.Name != volume {
				continue
			}
			size, err := strconv.ParseInt(lv.Size, 10, 64)
			if err != nil {
				return Volume{}, fmt.Errorf("read volume group %s: size %q of %s", group, lv.Size, volume)
			}
			return Volume{Group: group, Name: volume, Bytes: size, Path: lv.Path, Active: lv.Active == "active", Open: lv.Open != "", Tags: strings.Split(lv.Tags, ",")}, nil
		}
	}
	return Volume{}, fmt.Errorf("logical volume %s/%s: %w", group, volume, ErrNotFound)
}

// Create makes a volume of at least so many bytes, which is Blank. What LVM knows of
// old filesystems on its blocks is wiped; it is not interrupted in that.
func Create(ctx context.Context, group, volume string, size int64) error {
	if err := errors.Join(CheckName(group), CheckName(volume)); err != nil {
		return err
	}
	return do(ctx, "lvcreate", "--yes", "--wipesignatures", "y", "--zero", "y", "--addtag", tagBlank, "--size", bytesOf(size), "--name", volume, "--", group)
}

// Make notes that a filesystem is about to be made on a blank volume on which none
// was found.
func (v Volume) Make(ctx context.Context) error {
	return do(ctx, "lvchange", "--addtag", tagMaking, "--", v.full())
}

// Used notes that from now on there may be something on the volume.
func (v Volume) Used(ctx context.Context) error {
	return do(ctx, "lvchange", "--deltag", tagBlank, "--deltag", tagMaking, "--", v.full())
}

// Extend makes a volume at least so large. One that is large enough stays.
func (v Volume) Extend(ctx context.Context, size int64) error {
	if size <= v.Bytes {
		return nil
	}
	return do(ctx, "lvextend", "--size", bytesOf(size), "--", v.full())
}

// Activate makes the device of a volume appear.
func (v Volume) Activate(ctx context.Context) error {
	return do(ctx, "lvchange", "--activate", "y", "--", v.full())
}

// Device opens the device of an active volume, for reading; mkfs and the kernel open
// it by themselves.
func (v Volume) Device() (*os.File, error) {
	if v.Path == "" {
		return nil, fmt.Errorf("logical volume %s/%s has no device: it is a pool, or a part of another volume", v.Group, v.Name)
	}
	return os.Open(v.Path)
}

// On tells whether a mount shows a filesystem of the open device.
func On(device *os.File, e mount.Entry) bool {
	var is, at unix.Stat_t
	if unix.Fstat(int(device.Fd()), &is) != nil {
		return false
	}
	if e.Device == fmt.Sprintf("%d:%d", unix.Major(is.Rdev), unix.Minor(is.Rdev)) {
		return true
	}
	// A btrfs has a number of its own in the mount table.
	return strings.HasPrefix(e.Source, "/dev/") && unix.Stat(e.Source, &at) == nil && at.Mode&unix.S_IFMT == unix.S_IFBLK && at.Rdev == is.Rdev
}

func (v Volume) full() string { return v.Group + "/" + v.Name }

func bytesOf(size int64) string { return strconv.FormatInt(size, 10) + "b" }

func program(out *bytes.Buffer, argv ...string) run.Program {
	// LVM complains of descriptors that it did not open.
	p := run.Program{Argv: argv, Env: []string{"LVM_SUPPRESS_FD_WARNINGS=1"}}
	if out != nil {
		p.Stdout = out
	}
	return p
}

// do changes something: that is begun and ended, whatever becomes of the caller.
func do(ctx context.Context, argv ...string) error {
	p := program(nil, argv...)
	p.Survives = true
	if err := ctx.Err(); err != nil {
		return err
	}
	said, err := run.Do(context.WithoutCancel(ctx), p)
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}
