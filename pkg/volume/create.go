package volume

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// CreateRequest says what volume is wanted.
type CreateRequest struct {
	// Name is the CO's: equal names are the same volume.
	Name string
	Size Range
	// Access is how it is to be used.
	Access Access
	// Parameters are those of the class.
	Parameters map[string]string
	// Content is what the volume starts with.
	Content Content
	// Topology are the alternatives of where the volume must be reachable, each
	// a set of segments; nil for anywhere.
	Topology []map[string]string
}

// Volume is what a caller gets to know of one.
type Volume struct {
	// Handle names it in all other calls.
	Handle string
	ID     string
	Pool   string
	Bytes  int64
	// Enforced tells whether the kernel refuses writes beyond Bytes.
	Enforced bool
	Created  time.Time
	Engine   string
	// Block tells a raw block device, FSType the filesystem of its own.
	Block  bool
	FSType string
	Origin string
	// Content is what it has started with.
	Content Content
	// Pod is the uid of the pod whose ephemeral volume it is, "" for none.
	Pod string
}

// Kind is "directory", "block", or the filesystem of the volume's own.
func (v Volume) Kind() string {
	switch {
	case v.Block:
		return "block"
	case v.FSType != "":
		return v.FSType
	}
	return "directory"
}

// Create makes a volume, or finds the one that an earlier, equal call has made.
// After nil it is durable. It fails with ErrExists when there is a volume of
// that name which differs, and with ErrExhausted when no pool has the space or
// can do what the parameters ask. One with content is filled by a copy of the
// daemon's, see copies.
func (s *Service) Create(ctx context.Context, r CreateRequest) (Volume, error) {
	if r.Name == "" || len(r.Name) > maxName {
		return Volume{}, invalid("a volume needs a name of at most %d bytes; this one has %d", maxName, len(r.Name))
	}
	params, err := parseParameters(r.Parameters)
	if err != nil {
		return Volume{}, err
	}
	if err := s.reachable(r.Topology); err != nil {
		return Volume{}, err
	}
	from, err := s.from(r.Content)
	if err != nil {
		return Volume{}, err
	}
	want := pool.Record{
		ID: idOf(r.Name), Name: r.Name, From: from,
		Enforce: params.enforce, Parameters: params.record(), Created: time.Now().UTC(),
	}
	if err := s.shape(&want, params, r.Access, r.Size); err != nil {
		return Volume{}, err
	}
	if want.Name == want.ID {
		want.Name = ""
	}
	unlock, err := s.locks.try(volumeKey(want.ID))
	if err != nil {
		return Volume{}, s.copies.join(volumeKey(want.ID), keyOf(from), err)
	}
	filling := false
	defer func() {
		if !filling {
			unlock()
		}
	}()

	switch p, have, err := s.find(want.ID); {
	case err == nil:
		if err := compatible(have, want, r.Size); err != nil {
			return Volume{}, err
		}
		return s.volume(p, have), nil
	case !errors.Is(err, ErrNotFound):
		return Volume{}, err
	}
	if !r.Content.none() {
		filling = true
		return s.fill(ctx, want, r.Size, params, unlock)
	}
	p, rec, err := s.build(ctx, want, params)
	if err != nil {
		return Volume{}, err
	}
	return s.volume(p, rec), nil
}

// build makes a volume that no open pool has, in the pool that the parameters
// ask for. The caller holds the lock of its id.
func (s *Service) build(ctx context.Context, want pool.Record, params parameters) (*pool.Pool, pool.Record, error) {
	if err := s.sure(want.ID); err != nil {
		return nil, pool.Record{}, err
	}
	p, e, err := s.choose(params, want.Engine, want.Bytes)
	if err != nil {
		return nil, pool.Record{}, err
	}
	spec := specOf(want, params)
	rec, err := s.buildIn(ctx, p, want, func(ctx context.Context, item *safepath.Dir, rec pool.Record) (pool.Record, error) {
		var err error
		rec.Volume, err = e.Create(ctx, item, spec, nil)
		return rec, err
	})
	return p, rec, err
}

func specOf(want pool.Record, params parameters) engine.Spec {
	return engine.Spec{
		Bytes: want.Bytes, Enforce: params.enforce, Mode: params.mode, UID: params.uid, GID: params.gid,
		Form: want.Form, MkfsOptions: strings.Fields(params.mkfs),
	}
}

// buildIn has the pool build a volume or snapshot.
func (s *Service) buildIn(ctx context.Context, p *pool.Pool, want pool.Record, builder pool.Builder) (pool.Record, error) {
	rec, err := p.Build(ctx, want, builder)
	if errors.Is(err, pool.ErrTooLarge) {
		return rec, s.elsewhere(ErrOutOfRange, "%w", err)
	}
	if err != nil {
		return rec, classify(err)
	}
	log := logger(ctx).V(2).WithValues("pool", p.Name(), "bytes", rec.Bytes)
	if sn := rec.Snapshot; sn != nil {
		log.Info("Created snapshot", "snapshotID", rec.ID, "volumeID", sn.Of, "method", sn.Method, "consistency", sn.Consistency, "held", sn.Held)
	} else {
		log.Info("Created volume", "volumeID", rec.ID, "enforced", rec.Enforced, "from", contentOf(rec.From))
	}
	return rec, nil
}

// maxName is CSI's bound on the bytes of a name.
const maxName = 128

// compatible compares an existing volume with the one a call would make now.
// Its size is right if the call would have made it so, or if it lies between
// the two ends that the call gives. A call for a volume with content that asks
// for no size takes what it gets.
func compatible(have, want pool.Record, size Range) error {
	open := want.From != pool.From{} && size.Required == 0 && (size.Limit == 0 || have.Bytes <= size.Limit)
	between := size.Limit > 0 && size.Required <= have.Bytes && have.Bytes <= size.Limit
	switch {
	case have.Ephemeral != nil:
		return kind(ErrExists, "%w", notTheCOs(have))
	case have.Origin != "":
		return kind(ErrExists, "volume %s was adopted from %s; it is used through a PersistentVolume with that volumeHandle", have.ID, have.Origin)
	case have.Name != want.Name:
		return kind(ErrExists, "volume %s is of another name, %q", have.ID, have.Name)
	case have.From != want.From:
		return kind(ErrExists, "volume %s was made from %s, not from %s", have.ID, contentOf(have.From), contentOf(want.From))
	case have.Born != want.Born && !between && !open:
		return kind(ErrExists, "volume %s was made with %d bytes, not %d", have.ID, have.Born, want.Born)
	case have.Block != want.Block:
		return kind(ErrExists, "%s", mismatch(have, Access{Block: want.Block}))
	case have.FSType != want.FSType && (want.FSType != "" || want.From == pool.From{}):
		return kind(ErrExists, "%s", mismatch(have, Access{FSType: want.FSType}))
	case !maps.Equal(have.Parameters, want.Parameters):
		return kind(ErrExists, "volume %s was made with the parameters %v, not %v", have.ID, have.Parameters, want.Parameters)
	}
	return nil
}

func (s *Service) volume(p *pool.Pool, rec pool.Record) Volume {
	v := Volume{
		Handle: s.handle(rec.ID), ID: rec.ID, Pool: p.Name(), Bytes: rec.Bytes, Enforced: rec.Enforced,
		Created: rec.Created, Engine: rec.Engine, Block: rec.Block, FSType: rec.FSType, Origin: rec.Origin, Content: s.content(rec.From),
	}
	if rec.Ephemeral != nil {
		v.Handle, v.Pod = rec.ID, rec.Ephemeral.Pod
	}
	return v
}

// reachable checks that this node is among the places.
func (s *Service) reachable(places []map[string]string) error {
	if len(places) == 0 {
		return nil
	}
	for _, place := range places {
		if s.here(place) {
			return nil
		}
	}
	return kind(ErrExhausted, "none of the places %v is this node (%s=%s)", places, s.opts.TopologyKey, s.opts.NodeID)
}

// here tells whether every segment of the place is this node's.
func (s *Service) here(place map[string]string) bool {
	for key, value := range place {
		if key != s.opts.TopologyKey || value != s.opts.NodeID {
			return false
		}
	}
	return true
}
