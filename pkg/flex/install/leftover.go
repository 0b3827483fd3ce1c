package install

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/flex/settings"
	"github.com/hostvol/hostvol/pkg/host/errno"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// A driver's directory is made under the first name, and one that a killed run has
// left is emptied under the second.
const (
	stagePrefix = ".hostvol-flex.new."
	trashPrefix = ".hostvol-flex.old."
)

// clean removes directories that killed runs have left. The notes tell of what was
// in them and is not ours.
func (i *Installer) clean(root *safepath.Dir) (notes []string, err error) {
	names, err := root.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, stagePrefix) && !strings.HasPrefix(name, trashPrefix) {
			continue
		}
		note, err := i.discard(root, name)
		if err != nil {
			return notes, err
		}
		if note != "" {
			notes = append(notes, note)
		}
	}
	return notes, nil
}

// discard removes a directory of ours. It is renamed first: a kubelet that was
// started over it watches it, by its name, and would take the removal of a file in
// it for the change of a driver that it then looks for in vain until it ends. By a
// rename it loses the watch, and of the rename itself it sees names with dots only.
func (i *Installer) discard(root *safepath.Dir, name string) (note string, err error) {
	if of, ok := strings.CutPrefix(name, stagePrefix); ok {
		if err := root.Rename(name, root, trashPrefix+of); err != nil {
			return "", err
		}
		name = trashPrefix + of
		i.step("put aside")
	}
	d, err := root.OpenDir(name)
	if errno.Link(err) {
		return fmt.Sprintf("%s/%s is not a directory, and stays", root.Name(), name), nil
	}
	if err != nil {
		return "", err
	}
	defer d.Close() //nolint:errcheck // read only
	names, err := d.Names()
	if err != nil {
		return "", err
	}
	for _, entry := range names {
		if entry != settings.File && !slices.Contains(Drivers(), entry) {
			return fmt.Sprintf("%s/%s is not of hostvol, and stays", d.Name(), entry), nil
		}
		if err := d.Unlink(entry); err != nil {
			return "", err
		}
		i.step("emptied")
	}
	return "", root.Rmdir(name)
}

// sweep removes from a driver's directory what a killed run was about to put there.
func (i *Installer) sweep(d *safepath.Dir, driver string) error {
	for _, name := range []string{fresh(settings.File), fresh(driver)} {
		there, err := d.Exists(name)
		if err == nil && there {
			err = d.Unlink(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
