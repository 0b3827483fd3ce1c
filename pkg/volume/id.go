package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/hostvol/hostvol/pkg/pool"
)

// hashDigits of a name's hash make an id unique where the name is no id.
const hashDigits = 16

// readable bytes of such a name come before them.
const readable = 40

// idOf makes the id of the volume that the CO names so. Equal names have equal
// ids, so that a repeated create finds its own earlier work. A name that can be
// a file name is the id.
func idOf(name string) string {
	if pool.ValidID(name) {
		return name
	}
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case b.Len() == readable:
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0:
			b.WriteByte('-')
		}
	}
	if b.Len() == 0 {
		b.WriteByte('v')
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(b.String(), "-") + "-" + hex.EncodeToString(sum[:])[:hashDigits]
}

// handle is what the CO is given for the id.
func (s *Service) handle(id string) string {
	if s.opts.Distributed {
		return id + "@" + s.tag
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
