package volume

import (
	"encoding/hex"
	"strings"

	"github.com/hostvol/hostvol/pkg/pool"
	"github.com/hostvol/hostvol/pkg/volume/handle"
)

// idOf makes the id of the volume that the CO names so; see handle.ID.
func idOf(name string) string { return handle.ID(name) }

// handle is what the CO is given for the id.
func (s *Service) handle(id string) string {
	if s.opts.Distributed {
		return handle.Tagged(id, s.tag)
	}
	return id
}

// local takes a handle apart. A handle without a tag is local; ours tells
// whether the handle can name a volume of a pool on this node at all.
func (s *Service) local(handle string) (id string, ours bool) {
	id, tag, tagged := strings.Cut(handle, "@")
	return id, pool.ValidID(id) && (!tagged || tag == s.tag)
}

// key is what locks and the table of targets know a handle by: the id, or the
// handle itself where it cannot be one.
func (s *Service) key(handle string) string {
	if id, ours := s.local(handle); ours {
		return id
	}
	return handle
}

// foreign tells whether the handle carries the tag of some node. Ours is
// excluded by local.
func foreign(handle string) bool {
	id, tag, tagged := strings.Cut(handle, "@")
	_, err := hex.DecodeString(tag)
	return tagged && pool.ValidID(id) && len(tag) == 8 && err == nil
}
