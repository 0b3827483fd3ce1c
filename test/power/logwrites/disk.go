package logwrites

import (
	"fmt"
	"io"
	"math/rand/v2"
)

// Disk is what a log is replayed to. It begins as the logged disk has begun.
type Disk interface {
	io.WriterAt
	// Zero is what becomes of a range that is discarded.
	Zero(offset, size int64) error
}

// Replay writes the entries from one to before another.
func (l *Log) Replay(disk Disk, from, to int) error {
	for i, e := range l.Entries[from:to] {
		if err := l.write(disk, part{entry: e, size: e.Size}); err != nil {
			return fmt.Errorf("replay entry %d: %w", from+i, err)
		}
	}
	return nil
}

// Tear writes, to a disk to which everything before the cut was replayed, a part of what was unsafe.
func (l *Log) Tear(disk Disk, c Cut, random *rand.Rand) error {
	for _, p := range l.survivors(c, random) {
		if err := l.write(disk, p); err != nil {
			return fmt.Errorf("tear at entry %d: %w", c.At, err)
		}
	}
	return nil
}

func (l *Log) write(disk Disk, p part) error {
	if p.size == 0 {
		return nil
	}
	if p.entry.is(Discard) {
		return disk.Zero(p.entry.Offset, p.entry.Size)
	}
	data := make([]byte, p.size)
	if _, err := l.from.ReadAt(data, p.entry.data+p.offset); err != nil {
		return err
	}
	_, err := disk.WriteAt(data, p.entry.Offset+p.offset)
	return err
}
