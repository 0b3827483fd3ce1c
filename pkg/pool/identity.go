package pool

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Identity is the content of pool.json.
type Identity struct {
	UUID   string `json:"uuid"`
	Format int    `json:"format"`
	Name   string `json:"name"`
}

const identityFormat = 1

// Why a directory is not opened as a pool.
var (
	ErrNotPool  = errors.New("not a hostvol pool")
	ErrIdentity = errors.New("another pool than the one configured")
	ErrNoMount  = errors.New("not a mount point")
)

// coveredAttribute marks the directory that a pool's disk is mounted on, seen
// only while the disk is absent: there, no pool may be made.
const coveredAttribute = "trusted.hostvol.covered"

// readIdentity reads pool.json and compares it with what is configured.
func readIdentity(root *safepath.Dir, cfg Config) (Identity, error) {
	data, err := root.ReadFile(identityFile, 4096)
	if err != nil {
		return Identity{}, err
	}
	var id Identity
	if err := json.Unmarshal(data, &id); err != nil {
		return Identity{}, fmt.Errorf("read %s: %w", identityFile, err)
	}
	switch {
	case id.Format != identityFormat:
		return Identity{}, fmt.Errorf("%w: format %d, this program knows %d", ErrIdentity, id.Format, identityFormat)
	case cfg.UUID != "" && cfg.UUID != id.UUID:
		return Identity{}, fmt.Errorf("%w: it has the UUID %s, the configuration pins %s", ErrIdentity, id.UUID, cfg.UUID)
	case id.Name != cfg.Name:
		return Identity{}, fmt.Errorf("%w: it is the pool %q and not %q; use its name, or edit %s while no daemon runs", ErrIdentity, id.Name, cfg.Name, identityFile)
	}
	return id, nil
}

// qualifies tells whether the directory can become a pool, without touching it.
// Only an empty one does; what an interrupted creation left counts as empty.
func qualifies(root *safepath.Dir, cfg Config) error {
	if err := refuseCovered(cfg.Path); err != nil {
		return err
	}
	names, err := root.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		switch {
		case name == "lost+found" || name == lockFile || name == identityFile+".new":
		case slices.Contains(subdirs(), name):
			if err := emptyDir(root, name); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: the directory is not empty (it has %q) and has no %s; give an empty directory, or mount the pool's disk there", ErrNotPool, name, identityFile)
		}
	}
	return nil
}

// createIdentity makes a pool of the directory.
func createIdentity(root *safepath.Dir, cfg Config) (Identity, error) {
	if err := qualifies(root, cfg); err != nil { // again, with the lock held
		return Identity{}, err
	}
	if err := root.Chmod(0o711); err != nil {
		return Identity{}, err
	}
	for _, name := range subdirs() {
		if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return Identity{}, err
		}
	}
	id := Identity{UUID: newUUID(), Format: identityFormat, Name: cfg.Name}
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return Identity{}, err
	}
	return id, root.WriteFile(identityFile, append(data, '\n'), 0o600)
}

func emptyDir(root *safepath.Dir, name string) error {
	d, err := root.OpenDir(name)
	if err != nil {
		return err
	}
	names, err := d.Names()
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: there is no %s, but %s is not empty; restore the file from a backup", ErrNotPool, identityFile, name)
	}
	return nil
}

// newUUID makes a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// makeDirectory makes the pool's directory itself where the configuration
// allows it and its parent exists.
func makeDirectory(cfg Config) error {
	err := os.Mkdir(cfg.Path, 0o711)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := refuseCovered(cfg.Path); err != nil {
		return errors.Join(err, os.Remove(cfg.Path))
	}
	return nil
}

// refuseCovered fails when the path lies in a directory that a pool's disk was
// mounted on, and is not now.
func refuseCovered(path string) error {
	for dir := path; ; dir = filepath.Dir(dir) {
		d, err := safepath.OpenRoot(dir)
		if err != nil {
			return err
		}
		uuid, err := d.Attribute(coveredAttribute, 64)
		_ = d.Close()
		if err == nil {
			return fmt.Errorf("%w: the disk of pool %s was mounted on %s and is not; mount it (or, if it is gone for good, remove the mark with `setfattr -x %s %s`)",
				ErrNoMount, uuid, dir, coveredAttribute, dir)
		}
		if dir == "/" {
			return nil
		}
	}
}

// markCovered leaves the mark that refuseCovered looks for. It is a help and
// not a need: a filesystem that takes no mark, or is mounted on nothing that
// can be reached, gets none.
func markCovered(table []mount.Entry, path, uuid string) {
	e, ok := mount.At(table, path)
	if !ok || e.Point == "/" {
		return
	}
	d, err := mount.Covered(e.Point)
	if err != nil {
		return
	}
	if have, err := d.Attribute(coveredAttribute, 64); err != nil || string(have) != uuid {
		_ = d.SetAttribute(coveredAttribute, []byte(uuid))
	}
	_ = d.Close()
}
