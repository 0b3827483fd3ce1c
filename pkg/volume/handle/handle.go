// Package handle says what volumes are called: how a name becomes an id, and an
// id the handle that the CO knows. It stands alone, so that a small program names
// volumes as the daemon does.
package handle

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/hostvol/hostvol/pkg/pool/id"
)

// hashDigits of a name's hash make an id unique where the name is no id.
const hashDigits = 16

// readable bytes of such a name come before them.
const readable = 40

// ID makes the id of the volume that the CO names so. Equal names have equal
// ids, so that a repeated create finds its own earlier work. A name that can be
// a file name is the id.
func ID(name string) string {
	if id.Valid(name) {
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

// Tag tells nodes apart in handles: 8 hex digits.
func Tag(node string) string {
	sum := sha256.Sum256([]byte(node))
	return hex.EncodeToString(sum[:4])
}

// Tagged is the handle of an id on the node with that tag, where each node has
// its own daemon.
func Tagged(id, tag string) string { return id + "@" + tag }

// Split takes the handle of some node's volume apart. What is no such handle is
// given back as it is, without a tag.
func Split(handle string) (name, tag string) {
	name, tag, tagged := strings.Cut(handle, "@")
	if _, err := hex.DecodeString(tag); !tagged || !id.Valid(name) || len(tag) != 8 || err != nil {
		return handle, ""
	}
	return name, tag
}
