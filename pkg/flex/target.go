package flex

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Targets are the paths that may be mounted on and unmounted.
type Targets struct {
	// KubeletDir is the kubelet's --root-dir; it may be a link.
	KubeletDir string
	// Driver is the driver's name as the kubelet has it in paths, vendor~driver. With
	// "" those of all drivers but the kubelet's own are meant.
	Driver string
}

// Target is a path of a call, locked. Its parent was reached without following a
// link. The target itself is looked at through the mount table first: a look at the
// root of a dead server's filesystem may not come back.
type Target struct {
	// Path is as the kubelet gave it.
	Path   string
	parent *safepath.Dir
	name   string
	// point is the path as the mount table shows it.
	point string
	lock  *Lock
}

// open checks a path, and locks it against other calls. It fails with fs.ErrNotExist when the parent is not there.
func (t Targets) open(ctx context.Context, path string) (*Target, error) {
	rel, err := t.check(path)
	if err != nil {
		return nil, err
	}
	kubelet, err := filepath.EvalSymlinks(t.KubeletDir)
	if err != nil {
		return nil, fmt.Errorf("the kubelet's directory: %w; install the driver with the kubelet's --root-dir as --kubelet-dir", err)
	}
	root, err := safepath.OpenRoot(kubelet)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // read only
	parent, err := root.OpenDir(filepath.Dir(rel))
	if errno.Link(err) {
		return nil, fmt.Errorf("a part of %s is a symbolic link or no directory: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	point := filepath.Join(kubelet, rel)
	lock, err := TakeLock(ctx, point)
	if err != nil {
		return nil, errors.Join(err, parent.Close())
	}
	return &Target{Path: path, parent: parent, name: filepath.Base(rel), point: point, lock: lock}, nil
}

// check checks the form of a path, and gives it relative to the kubelet's directory.
func (t Targets) check(path string) (rel string, err error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("target %q is not an absolute, clean path", path)
	}
	if !mount.Below(path, t.KubeletDir) {
		return "", fmt.Errorf("target %q is not below the kubelet's directory %s; if the kubelet has another --root-dir, install the driver with it as --kubelet-dir", path, t.KubeletDir)
	}
	rel = strings.TrimPrefix(path[len(t.KubeletDir):], "/")
	if !t.owns(strings.Split(rel, "/")) {
		return "", fmt.Errorf("target %q is not where the kubelet has the volumes of driver %s: pods/UID/volumes/%[2]s/NAME, or plugins/kubernetes.io/flexvolume/VENDOR/DRIVER/mounts/NAME", path, t.Driver)
	}
	return rel, nil
}

// owns tells whether a path below the kubelet's directory is one of the two that this
// protocol has: a volume of a pod, and the common mount of an attached one.
func (t Targets) owns(part []string) bool {
	driver := ""
	switch {
	case len(part) == 5 && part[0] == "pods" && part[2] == "volumes":
		driver = part[3]
	case (len(part) == 6 || len(part) == 7) && part[0] == "plugins" && part[1] == "kubernetes.io" && part[2] == "flexvolume" && part[len(part)-2] == "mounts":
		driver = strings.Join(part[3:len(part)-2], "~")
	default:
		return false
	}
	if t.Driver != "" {
		return driver == t.Driver
	}
	return strings.Contains(driver, "~") && !strings.HasPrefix(driver, "kubernetes.io~")
}

func (t *Target) close() {
	_ = t.parent.Close()
	t.lock.Release()
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Layers lists what is mounted on the target, the topmost last.
func (t *Target) Layers() ([]mount.Entry, error) {
	table, err := mount.Table()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(table, func(e mount.Entry) bool { return e.Point != t.point }), nil
}

// Prepare makes the target's directory if it is missing, and refuses what cannot be
// mounted on without hiding something: a link, a file, a directory with content.
// Nothing may be mounted there.
func (t *Target) Prepare() error {
	err := t.parent.Mkdir(t.name, 0o750)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := t.parent.OpenDir(t.name)
	if errno.Link(err) {
		return fmt.Errorf("the target %s is a symbolic link or no directory; remove it", t.Path)
	}
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // read only
	names, err := dir.Names()
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("the target %s has something in it (%q), which a mount would hide; move it away", t.Path, names[0])
	}
	return err
}

// Put mounts a source on the prepared target.
func (t *Target) Put(src *mount.Source, flags mount.Flags) error {
	return src.Mount(t.parent, t.name, flags)
}

// Open opens the target itself, without following a link.
func (t *Target) Open() (*safepath.Dir, error) { return t.parent.OpenDir(t.name) }
