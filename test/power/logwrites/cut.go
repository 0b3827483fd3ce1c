package logwrites

import "math/rand/v2"

// Cut is a moment at which the power goes.
type Cut struct {
	// At: the entries before it are on the disk, and their marks have happened.
	At int
	// End: of the entries from At up to it, an arbitrary part is on the disk as well.
	End int
}

// Prefix is the cut at which nothing survives beyond the entries before at.
func (l *Log) Prefix(at int) Cut { return Cut{At: at, End: at} }

// Torn is the first moment at or after an entry at which writes are unsafe. At the end of the log it is a prefix.
func (l *Log) Torn(from int) Cut {
	for at := from; at < len(l.Entries); at++ {
		switch e := l.Entries[at]; {
		case e.Size == 0: // a mark or a flush
		case e.is(FUA):
			return Cut{At: at, End: at + 1}
		default:
			end := at
			for end < len(l.Entries) && !l.Entries[end].is(Flush|FUA|Mark) {
				end++
			}
			return Cut{At: at, End: end}
		}
	}
	return l.Prefix(len(l.Entries))
}

// piece is what a disk writes whole.
const piece = 4096

// part is a part of an entry that has reached the disk.
type part struct {
	entry        Entry
	offset, size int64 // relative to the entry
}

// survivors draws what of the torn entries has reached the disk. Parts of writes to the same place keep their order:
// a cache holds the newest, and what the medium has is older or the same.
func (l *Log) survivors(c Cut, random *rand.Rand) []part {
	var out []part
	chance := random.Float64()
	for _, e := range l.Entries[c.At:c.End] {
		whole := e.is(Discard) || random.IntN(3) > 0
		if whole {
			if random.Float64() < chance {
				out = append(out, part{entry: e, size: e.Size})
			}
			continue
		}
		for offset := int64(0); offset < e.Size; {
			size := min(piece-(e.Offset+offset)%piece, e.Size-offset)
			if random.Float64() < chance {
				out = append(out, part{entry: e, offset: offset, size: size})
			}
			offset += size
		}
	}
	return out
}
