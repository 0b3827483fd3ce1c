package volume

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/pool"
)

// Access is how a volume is to be used.
type Access struct {
	// Block asks for a raw block device, otherwise it is a directory.
	Block bool
	// FSType asks for a filesystem of the volume's own, "" for whatever it has.
	FSType string
	// Options are mount options, see mount.Split.
	Options []string
}

// mismatch tells why a volume cannot be used so; "" if it can.
func mismatch(rec pool.Record, a Access) string {
	switch {
	case a.Block && !rec.Block:
		return fmt.Sprintf("volume %s has a filesystem and is no block device; ask for volumeMode: Filesystem", rec.ID)
	case rec.Block && !a.Block:
		return fmt.Sprintf("volume %s is a block device; ask for volumeMode: Block", rec.ID)
	case a.FSType != "" && rec.FSType == "" && !rec.Block:
		return fmt.Sprintf("volume %s is a directory, which has the filesystem of its pool; leave out the filesystem type %s", rec.ID, a.FSType)
	case a.FSType != "" && a.FSType != rec.FSType && !rec.Block:
		return fmt.Sprintf("volume %s has the filesystem %s, not %s", rec.ID, rec.FSType, a.FSType)
	}
	return ""
}

// unfit is the error of a publication for a use that the volume does not have. The
// options of a directory are those of its mount only.
func unfit(rec pool.Record, a Access) error {
	if why := mismatch(rec, a); why != "" {
		return kind(ErrState, "%s", why)
	}
	if rec.FSType == "" && !rec.Block {
		if _, err := mount.ParseFlags(a.Options); err != nil {
			return invalid("%w", err)
		}
	}
	return nil
}

// CheckAccess fails with ErrInvalid when a volume cannot be used so. A static
// volume is a directory.
func (s *Service) CheckAccess(handle string, attributes map[string]string, a Access) error {
	rec := pool.Record{ID: handle}
	if !IsStatic(attributes) {
		var err error
		if _, rec, err = s.lookup(handle); err != nil {
			return err
		}
	}
	if err := unfit(rec, a); err != nil {
		return invalid("%w", err)
	}
	return nil
}

// defaultFSType is the filesystem of an image for which none is asked.
const defaultFSType = "ext4"

// shape completes the record of a new volume by what its class and its use ask
// for: the engine, the form and the size. What content brings along, its source
// tells later.
func (s *Service) shape(want *pool.Record, params parameters, a Access, size Range) error {
	if a.FSType == "" && !a.Block {
		a.FSType = params.fstype
	}
	want.Engine = params.engineFor(a)
	want.Form = engine.Form{Block: a.Block, FSType: a.FSType, Thick: params.thick}
	if want.Engine == imageEngine && !a.Block && a.FSType == "" && want.From == (pool.From{}) {
		want.FSType = defaultFSType
	}
	if want.Engine == directoryEngine {
		if _, err := mount.ParseFlags(a.Options); err != nil && want.From == (pool.From{}) {
			return invalid("%w", err)
		}
	} else if err := params.suits(a); err != nil {
		return err
	}
	bytes, err := size.bytes()
	if err != nil {
		return err
	}
	want.Bytes, want.Born = bytes, bytes
	return s.fit(want, size)
}

// fit makes the size one that the engine can make.
func (s *Service) fit(want *pool.Record, size Range) error {
	open := s.pools.all()
	if len(open) == 0 { // then none can be made either, as the caller finds out
		return nil
	}
	e := open[0].Engine(want.Engine)
	form := want.Form
	if from := want.From != (pool.From{}); from && want.Engine == imageEngine && !form.Block && form.FSType == "" {
		form.FSType = defaultFSType // none of them is smaller
	}
	bytes, err := e.Size(want.Bytes, form)
	if errors.Is(err, engine.ErrTooLarge) {
		return classify(err)
	}
	if err != nil {
		return invalid("%w", err)
	}
	if size.Limit > 0 && bytes > size.Limit {
		return kind(ErrOutOfRange, "the limit of %d bytes is below the smallest such volume, %d bytes", size.Limit, bytes)
	}
	want.Bytes, want.Born = bytes, bytes
	return nil
}

// engineFor is the engine that a class asks for: by name, or by the use of the
// volume, since a directory can be no block device.
func (p parameters) engineFor(a Access) string {
	switch {
	case p.engine != "":
		return p.engine
	case a.Block:
		return imageEngine
	}
	return directoryEngine
}

// suits refuses what has no meaning for an image.
func (p parameters) suits(a Access) error {
	if !a.Block {
		return nil
	}
	switch {
	case p.mkfs != "":
		return invalid("parameter %s: a raw block volume gets no filesystem; leave it out", paramMkfsOptions)
	case p.mode != defaultMode || p.uid != 0 || p.gid != 0:
		return invalid("the parameters %s are of a volume's root directory; a raw block volume has none, leave them out", strings.Join([]string{paramMode, paramUID, paramGID}, ", "))
	}
	return nil
}
