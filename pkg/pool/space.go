package pool

import (
	"errors"
	"fmt"
	"math"

	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// ErrNoSpace means that a pool has not that much space left to promise,
// ErrTooLarge that it never will.
var (
	ErrNoSpace  = errors.New("not enough space in the pool")
	ErrTooLarge = errors.New("more than the pool can ever hold")
)

// Space is a pool's account at one moment, all in bytes.
type Space struct {
	// Total and Free are those of the filesystem.
	Total, Free int64
	// Limit is what may be promised altogether, overcommitment included.
	Limit int64
	// Reserved is the sum of the sizes of all that is in the pool: volumes,
	// snapshots, trash and what is being built.
	Reserved int64
	// Trash is the part of Reserved that is deleted and not yet purged.
	Trash int64
	// Available is the largest volume that can be made now.
	Available int64
}

// ledger adds up what has been promised. Every item is in it once.
type ledger struct {
	// sizes is the sum of all sizes.
	sizes int64
	// trash is the part of sizes that lies in the trash.
	trash int64
	// outstanding is the sum of max(0, size − used) where used is known.
	outstanding int64
	// known is the sum of used where used is known.
	known int64
	// blind is the sum of sizes where used is not known.
	blind int64
}

// unknown stands for the used bytes of a volume that nobody counts.
const unknown = -1

func (l *ledger) add(size, used int64)    { l.book(size, used, 1) }
func (l *ledger) remove(size, used int64) { l.book(size, used, -1) }

func (l *ledger) book(size, used, sign int64) {
	l.sizes += sign * size
	if used == unknown {
		l.blind += sign * size
		return
	}
	l.outstanding += sign * max(0, size-used)
	l.known += sign * used
}

// space computes the account from the ledger and the state of the filesystem.
//
// Two bounds hold. Of what may be promised, the promised is taken off. Of what
// is free on the disk, that is taken off which volumes may still write. Where
// nobody counts what a volume uses, it may still write all of its size, but on
// a filesystem that holds nothing but the pool, the space in use is theirs.
// Overcommitment stretches both: it would be without effect otherwise.
// Others is what other pools on the same filesystem may still write.
func (l *ledger) space(cfg Config, fs safepath.Space, dedicated bool, others int64) Space {
	s := Space{Total: fs.Bytes, Free: fs.BytesAvailable, Reserved: l.sizes, Trash: l.trash}
	limit := cfg.Limit
	if limit == 0 {
		limit = fs.Bytes
	}
	s.Limit = stretch(limit, cfg.Overcommit)
	blind := l.blind
	if dedicated {
		blind -= min(blind, max(0, fs.Bytes-fs.BytesFree-l.known))
	}
	free := stretch(max(0, fs.BytesAvailable-cfg.reserve(fs.Bytes, dedicated)), cfg.Overcommit)
	s.Available = max(0, min(s.Limit-l.sizes, free-l.outstanding-blind-others))
	return s
}

func stretch(bytes int64, factor float64) int64 {
	if factor == 1 {
		return bytes
	}
	return int64(min(float64(bytes)*factor, math.MaxInt64/2))
}

// others is asked for before p.mu is taken, since it takes that of others.
func (p *Pool) others() int64 {
	if p.opts.Promised == nil {
		return 0
	}
	return p.opts.Promised(p)
}

// Promised is what the volumes of the pool may still write, in bytes.
func (p *Pool) Promised() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ledger.outstanding + p.ledger.blind
}

// SharesFilesystem tells whether two pools lie on one filesystem.
func (p *Pool) SharesFilesystem(other *Pool) bool { return p.device == other.device }

// Space tells the pool's account now.
func (p *Pool) Space() (Space, error) {
	fs, err := p.root.Space()
	if err != nil {
		return Space{}, fmt.Errorf("space of pool %s: %w", p.cfg.Name, err)
	}
	others := p.others()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ledger.space(p.cfg, fs, p.dedicated, others), nil
}

// Fits tells by an ErrNoSpace or ErrTooLarge that size bytes are not there.
func (p *Pool) Fits(size int64) error { return p.book(size, false) }

// reserve books size bytes, or fails as Fits does.
func (p *Pool) reserve(size int64) error { return p.book(size, true) }

func (p *Pool) book(size int64, really bool) error {
	fs, err := p.root.Space()
	if err != nil {
		return fmt.Errorf("space of pool %s: %w", p.cfg.Name, err)
	}
	others := p.others()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.ledger.space(p.cfg, fs, p.dedicated, others)
	if size > s.Limit {
		return p.tooLarge(size, s.Limit)
	}
	if size > s.Available {
		return fmt.Errorf("%w %s: %d bytes asked, %d of %d available (%d promised, %d of these in the trash; %d free on the disk)",
			ErrNoSpace, p.cfg.Name, size, s.Available, s.Limit, s.Reserved, s.Trash, s.Free)
	}
	if really {
		p.ledger.add(size, 0)
	}
	return nil
}

// everFits tells by an ErrTooLarge that no volume can have that size.
func (p *Pool) everFits(size int64) error {
	s, err := p.Space()
	if err == nil && size > s.Limit {
		err = p.tooLarge(size, s.Limit)
	}
	return err
}

func (p *Pool) tooLarge(size, limit int64) error {
	return fmt.Errorf("%w: %d bytes asked; pool %s has %d", ErrTooLarge, size, p.cfg.Name, limit)
}

// unreserve gives back what reserve has booked.
func (p *Pool) unreserve(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.remove(size, 0)
}

// SetUsed tells the pool what a volume uses by now, so that the account knows
// what it may still write. A volume that is gone meanwhile is no error.
func (p *Pool) SetUsed(id string, used int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if it, ok := p.volumes.items.Get(id); ok {
		p.ledger.remove(it.rec.Bytes, it.used)
		it.used = used
		p.ledger.add(it.rec.Bytes, used)
	}
}
