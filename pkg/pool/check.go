package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Fault is a broken invariant of a pool, or a problem of a volume in it.
type Fault struct {
	// Item is a path below the pool.
	Item string
	// Reason is a CamelCase word for machines.
	Reason  string
	Message string
}

// The reasons of faults besides the problems that engines find.
const (
	FaultIdentity = "PoolIdentity"
	FaultLayout   = "PoolLayout"
	FaultRecord   = "RecordUnreadable"
	FaultProject  = "ProjectSharedByTwo"
	FaultTrash    = "TrashUnreadable"
)

// Content is what a check found on the disk.
type Content struct {
	// Volumes and Snapshots by id, Trash by the entries' names.
	Volumes, Snapshots, Trash map[string]Record
	// Groups of snapshots by id; their members are among Snapshots.
	Groups map[string]Record
	Faults []Fault
}

// Check reads a pool from its disk, apart from any daemon's memory, and tells
// which of these do not hold:
//
//   - the directory has a pool.json that can be read, and its subdirectories;
//   - each entry of volumes/ and snapshots/ has an id for a name, and a record of
//     that id and kind;
//   - a group holds the snapshots that its record counts, and nothing else;
//   - each item's data is there, and its limit is what the record says;
//   - no project id belongs to two items;
//   - each entry of trash/ has a readable name and record.
//
// It changes nothing. What a running daemon does meanwhile may show up as a
// fault.
func Check(ctx context.Context, cfg Config, engines map[string]engine.Engine) (Content, error) {
	c := Content{Volumes: map[string]Record{}, Snapshots: map[string]Record{}, Trash: map[string]Record{}, Groups: map[string]Record{}}
	root, err := safepath.OpenRoot(cfg.Path)
	if err != nil {
		return c, err
	}
	defer root.Close() //nolint:errcheck // read only
	if _, err := readIdentity(root, cfg); err != nil {
		c.fault(identityFile, FaultIdentity, err)
	}
	projects := map[uint32]string{}
	err = errors.Join(
		c.each(root, VolumesDir, func(dir *safepath.Dir, name string) { c.item(ctx, VolumesDir, dir, name, engines, projects) }),
		c.each(root, snapshotsDir, func(dir *safepath.Dir, name string) {
			c.item(ctx, snapshotsDir, dir, name, engines, projects)
		}),
		c.each(root, trashDir, func(dir *safepath.Dir, name string) { c.trash(dir, name, projects) }),
	)
	return c, errors.Join(err, ctx.Err())
}

func (c *Content) fault(item, reason string, err error) {
	c.Faults = append(c.Faults, Fault{Item: item, Reason: reason, Message: err.Error()})
}

func (c *Content) each(root *safepath.Dir, sub string, visit func(dir *safepath.Dir, name string)) error {
	dir, err := root.OpenDir(sub)
	if err != nil {
		c.fault(sub, FaultLayout, err)
		return nil
	}
	defer dir.Close() //nolint:errcheck // read only
	names, err := dir.Names()
	for _, name := range names {
		visit(dir, name)
	}
	return err
}

func (c *Content) item(ctx context.Context, shelf string, dir *safepath.Dir, name string, engines map[string]engine.Engine, projects map[uint32]string) {
	at := filepath.Join(shelf, name)
	item, err := dir.OpenDir(name)
	if err != nil {
		c.fault(at, FaultRecord, err)
		return
	}
	defer item.Close() //nolint:errcheck // read only
	rec, err := ReadRecord(item, name)
	if err == nil && !ValidID(name) {
		err = fmt.Errorf("%w: %q is not an id", ErrRecord, name)
	}
	if err == nil && (rec.Snapshot != nil || rec.Group != nil) != (shelf != VolumesDir) {
		err = fmt.Errorf("%w: an item of another kind", ErrRecord)
	}
	e := engines[rec.Engine]
	if err == nil && e == nil {
		err = fmt.Errorf("%w: made by the engine %q, which this program lacks", ErrRecord, rec.Engine)
	}
	if err != nil {
		c.fault(at, FaultRecord, err)
		return
	}
	switch {
	case rec.Group != nil:
		c.Groups[name] = rec
		c.members(ctx, at, item, rec, engines, projects)
		return
	case rec.Snapshot != nil:
		c.Snapshots[name] = rec
	default:
		c.Volumes[name] = rec
	}
	c.project(at, rec, projects)
	problems, err := e.Inspect(ctx, item, rec.Volume, true)
	if err != nil {
		c.fault(at, "InspectFailed", err)
	}
	for _, p := range problems {
		c.Faults = append(c.Faults, Fault{Item: at, Reason: p.Reason, Message: p.Message})
	}
}

// members checks what is in a group: its members, and nothing else.
func (c *Content) members(ctx context.Context, at string, group *safepath.Dir, rec Record, engines map[string]engine.Engine, projects map[uint32]string) {
	names, err := group.Names()
	if err == nil && len(names) != rec.Group.Members {
		err = fmt.Errorf("%w: the group has %d members, its record says %d", ErrRecord, len(names), rec.Group.Members)
	}
	if err != nil {
		c.fault(at, FaultRecord, err)
	}
	for _, name := range names {
		c.item(ctx, at, group, name, engines, projects)
		if member, ok := c.Snapshots[name]; ok && member.Snapshot.Group != rec.ID {
			c.fault(filepath.Join(at, name), FaultRecord, fmt.Errorf("%w: it is of the group %q", ErrRecord, member.Snapshot.Group))
		}
	}
}

func (c *Content) trash(dir *safepath.Dir, name string, projects map[uint32]string) {
	at := filepath.Join(trashDir, name)
	id, _, _, err := parseTrashName(name)
	if err != nil {
		c.fault(at, FaultTrash, err)
		return
	}
	item, err := dir.OpenDir(name)
	if err != nil {
		c.fault(at, FaultTrash, err)
		return
	}
	defer item.Close() //nolint:errcheck // read only
	rec, err := ReadRecord(item, id)
	if err != nil {
		c.fault(at, FaultTrash, err)
		return
	}
	c.Trash[strings.TrimSuffix(name, purging)] = rec
	c.project(at, rec, projects)
}

func (c *Content) project(at string, rec Record, projects map[uint32]string) {
	if rec.Project == 0 {
		return
	}
	if other, ok := projects[rec.Project]; ok {
		c.fault(at, FaultProject, fmt.Errorf("project %d is also that of %s", rec.Project, other))
	}
	projects[rec.Project] = at
}
