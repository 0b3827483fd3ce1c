// Package logwrites reads the log of the device-mapper target log-writes, and tells from it what a disk holds after
// its power was cut. It knows blocks and flushes, and nothing of filesystems.
//
// # What the order of the log says
//
// A disk may keep a write in its cache until it is told to flush; what was written with FUA is on the medium when
// it completes. The target logs accordingly (drivers/md/dm-log-writes.c):
//
//   - A plain write is not logged when it completes, but with the next flush that is sent after that: when the flush
//     completes, all those writes enter the log in the order of their completion, and then the flush. Call that a batch.
//   - A write with FUA enters the log when it completes.
//   - A mark enters the log at once.
//
// All this happens before the completion is reported upwards, and flushes complete in the order in which they were
// sent, which the block layer below sees to. So, for each entry of the log, there was a moment at
// which everything before it was on the medium; of the rest, the writes that were completed or under way by then may
// have been, each or in part, in any order, as far as nobody had waited for a flush between them.
//
// The moment just before a batch enters the log is the one with the most freedom: all writes of the batch are
// completed, none is safe, and all marks and FUA writes before it have happened. Any part of the batch may then be
// on the medium, with everything before it. It would be wrong to add parts of a batch to an earlier moment, with a
// FUA write between them missing: a journal's commit, and after it the blocks that it allows to be overwritten, are
// ordered by the completion of the FUA write alone. A FUA write that is under way may be there in part.
//
// So there are two kinds of cuts: a prefix of the log, the case that nothing survives which was not flushed; and a
// prefix up to a batch, or a FUA write, with an arbitrary part of that.
//
// What a write tears into are aligned pieces of 4 KiB, the sector of today's disks and the block of the filesystems
// here.
package logwrites

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Flag says what kind of entry it is; the values are the target's.
type Flag uint64

// The kinds. A plain write has none of them.
const (
	Flush   Flag = 1 << 0
	FUA     Flag = 1 << 1
	Discard Flag = 1 << 2
	Mark    Flag = 1 << 3
)

const (
	magic      = 0x6a736677736872
	version    = 1
	headerSize = 32
)

// Entry is one entry of a log, in bytes.
type Entry struct {
	Flags Flag
	// Offset and Size on the disk; Size is 0 for a flush and a mark.
	Offset, Size int64
	// Mark is the text of a mark.
	Mark string

	data int64 // where it lies in the log
}

func (e Entry) is(f Flag) bool { return e.Flags&f != 0 }

// Log is a whole log.
type Log struct {
	Entries []Entry

	from io.ReaderAt
}

// Read reads the entries of a log; their data stays where it is.
func Read(from io.ReaderAt) (*Log, error) {
	head := make([]byte, 28)
	if _, err := from.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint64(head) != magic || le.Uint64(head[8:]) != version {
		return nil, fmt.Errorf("read log: magic %#x, version %d; it is not a log of log-writes", le.Uint64(head), le.Uint64(head[8:]))
	}
	count, sector := le.Uint64(head[16:]), int64(le.Uint32(head[24:]))
	if sector < 512 || sector > 1<<16 {
		return nil, fmt.Errorf("read log: sectors of %d bytes", sector)
	}
	l := &Log{from: from, Entries: make([]Entry, 0, count)}
	block := make([]byte, sector)
	for at := sector; uint64(len(l.Entries)) < count; {
		if _, err := from.ReadAt(block, at); err != nil {
			return nil, fmt.Errorf("read log, entry %d of %d: %w", len(l.Entries), count, err)
		}
		e := Entry{
			Flags: Flag(le.Uint64(block[16:])), Offset: int64(le.Uint64(block)) * sector, Size: int64(le.Uint64(block[8:])) * sector,
			data: at + sector,
		}
		at += sector
		switch length := le.Uint64(block[24:]); {
		case e.is(Mark):
			if length > uint64(sector-headerSize) {
				return nil, fmt.Errorf("read log, entry %d: a mark of %d bytes", len(l.Entries), length)
			}
			e.Mark = strings.TrimRight(string(block[headerSize:headerSize+length]), "\x00")
			e.Size = 0
		case !e.is(Discard):
			at += e.Size
		}
		l.Entries = append(l.Entries, e)
	}
	return l, nil
}
