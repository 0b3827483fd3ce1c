package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Uninstall removes the drivers: what is ours, and then the directory if it is
// empty. One whose volumes are mounted gives ErrMounted, since the kubelet could not
// unmount them without it. Repeated after any end, it goes on.
func (i *Installer) Uninstall(ctx context.Context) ([]Done, error) {
	return i.each(ctx, i.uninstallOne)
}

func (i *Installer) uninstallOne(root *safepath.Dir, driver string) (done Done, err error) {
	d, err := openDriver(root, i.directory(driver))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return done, nil
	case errors.Is(err, ErrForeign):
		return Done{Notes: []string{err.Error()}}, nil
	case err != nil:
		return done, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	now, err := i.look(d, driver)
	if errors.Is(err, ErrForeign) { // a directory
		now, err = executable{there: true, foreign: true}, nil
	}
	if err != nil {
		return done, err
	}
	configured, err := d.Exists(settings.File)
	if err != nil {
		return done, err
	}
	ours := now.there && !now.foreign
	if !i.Force && (ours || configured) {
		if err := i.unused(d, driver); err != nil {
			return done, err
		}
	}
	// The executable first. Its removal is what has the kubelet forget the driver; to
	// move it or its directory away leaves the kubelet with one that always fails.
	if ours {
		if err := d.Unlink(driver); err != nil {
			return done, err
		}
		i.step("unlinked program")
	}
	if configured {
		if err := d.Unlink(settings.File); err != nil {
			return done, err
		}
		i.step("unlinked settings")
	}
	if err := errors.Join(i.sweep(d, driver), d.Sync()); err != nil {
		return done, err
	}
	done.Removed = ours || configured
	switch err := root.Rmdir(i.directory(driver)); {
	case errno.NotEmpty(err):
		done.Notes, err = leftNotes(d, driver)
		return done, err
	case err != nil:
		return done, err
	}
	done.Removed = true
	i.step("removed directory")
	return done, root.Sync()
}

// leftNotes tells what is not ours and stays.
func leftNotes(d *safepath.Dir, driver string) ([]string, error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	notes := []string{fmt.Sprintf("not of hostvol, and left in %s: %s", d.Name(), strings.Join(names, ", "))}
	if slices.Contains(names, replaced(driver)) {
		notes = append(notes, fmt.Sprintf("%s is what --force has replaced: to have it back, rename it to %s", replaced(driver), driver))
	}
	return notes, nil
}

// unused checks that no pod has a volume of the driver.
func (i *Installer) unused(d *safepath.Dir, driver string) error {
	dir := i.KubeletDir
	if dir == "" {
		// Settings that cannot be read were used by no driver either.
		s, err := settings.Read(d.Name())
		if err != nil {
			s = settings.Settings{}
			s.Complete()
		}
		dir = s.KubeletDir
	}
	// A directory that is not the kubelet's would have no volumes.
	if info, err := os.Stat(filepath.Join(dir, "pods")); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is not the directory of a kubelet, so it cannot be told whether volumes are mounted: give the kubelet's --root-dir as --kubelet-dir, or --force", dir)
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	found := mounted(table, i.Vendor, driver, dir)
	if resolved != dir {
		found = append(found, mounted(table, i.Vendor, driver, resolved)...)
	}
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("%w, and without it the kubelet cannot unmount them: %s; delete their pods, or use --force", ErrMounted, strings.Join(found, ", "))
}

// mounted are the volumes of a driver in a mount table, those of pods and the
// devices that are mounted once for all pods.
func mounted(table []mount.Entry, vendor, driver, kubeletDir string) (points []string) {
	pods, devices := filepath.Join(kubeletDir, "pods"), filepath.Join(kubeletDir, "plugins/kubernetes.io/flexvolume", vendor, driver, "mounts")
	for _, e := range table {
		of := mount.Below(e.Point, devices)
		if mount.Below(e.Point, pods) {
			parts := strings.Split(e.Point[len(pods)+1:], "/")
			of = len(parts) >= 4 && parts[1] == "volumes" && parts[2] == vendor+"~"+driver
		}
		if of && !slices.Contains(points, e.Point) {
			points = append(points, e.Point)
		}
	}
	return points
}
