package pool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Attribute is the extended attribute of an item's directory that carries its
// record. Only root can read or write trusted attributes.
const Attribute = "trusted.hostvol"

// recordLimit bounds a record in bytes: ext4 keeps attributes in one block.
const recordLimit = 3 << 10

const recordFormat = 1

// Record is what a volume or snapshot is. It is set before that appears and replaced
// atomically afterwards.
type Record struct {
	Format int `json:"v"`
	// ID is the item's name in volumes/.
	ID string `json:"id"`
	// Name is the one that the caller gave, where that is not the id.
	Name string `json:"name,omitempty"`
	// Engine made it.
	Engine string `json:"engine"`
	engine.Volume
	// Enforce is the policy that was asked for.
	Enforce engine.Policy `json:"enforce"`
	// Born is the size in bytes with which it was made.
	Born int64 `json:"born"`
	// Parameters are those of the class that make a repeated create compatible
	// or not.
	Parameters map[string]string `json:"params,omitempty"`
	Created    time.Time         `json:"created"`
	// Origin is where an adopted directory lay before.
	Origin string `json:"origin,omitempty"`
	// From is what a volume has started with; zero for an empty one.
	From From `json:"from,omitzero"`
	// Snapshot is set for a snapshot, whose Bytes are the size of its volume.
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// Group is set for a group of snapshots, whose Bytes are those of its members.
	Group *Group `json:"group,omitempty"`
	// Ephemeral is set for a volume that lives and dies with a pod.
	Ephemeral *Ephemeral `json:"ephemeral,omitempty"`
}

// Ephemeral tells for which pod a volume was made.
type Ephemeral struct {
	// Pod is its uid.
	Pod string `json:"pod"`
	// Target is where the volume is published.
	Target string `json:"target"`
}

// From names a snapshot or a volume by its id.
type From struct {
	Snapshot string `json:"snapshot,omitempty"`
	Volume   string `json:"volume,omitempty"`
}

// Snapshot is what there is to know of a snapshot besides.
type Snapshot struct {
	// Of is the id of its volume, which may be gone.
	Of string `json:"of"`
	// Consistency that it has, by the Method that was used; see engine.Cut. It
	// shows the volume between Created and Until.
	Consistency engine.Consistency `json:"consistency"`
	Method      string             `json:"method"`
	Until       time.Time          `json:"until"`
	// Limited tells that the volume's size was enforced, so that the content is
	// within Bytes.
	Limited bool `json:"limited,omitempty"`
	// Held is what it may take in bytes once it shares nothing.
	Held int64 `json:"held"`
	// Group is the id of the group that it belongs to, "" for none.
	Group string `json:"group,omitempty"`
}

// Group is what there is to know of a group of snapshots besides. Which snapshots
// are its members, its directory tells.
type Group struct {
	// Members is their number, Held what they may take together in bytes.
	Members int   `json:"members"`
	Held    int64 `json:"held"`
	// members are the records, where they have been read.
	members []Record
}

// Booked is what the item takes of the pool's limit, in bytes. A snapshot does
// not grow.
func (r Record) Booked() int64 {
	switch {
	case r.Snapshot != nil:
		return r.Snapshot.Held
	case r.Group != nil:
		return r.Group.Held
	}
	return r.Bytes
}

// Members are the records of a group's members, as far as they have been read.
func (r Record) Members() []Record {
	if r.Group == nil {
		return nil
	}
	return r.Group.members
}

// ErrRecord means that an item's record is missing or cannot be understood.
var ErrRecord = errors.New("unreadable record")

// WriteRecord sets the record of an item. It is durable after the next sync.
func WriteRecord(item *safepath.Dir, r Record) error {
	r.Format = recordFormat
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	if len(data) > recordLimit {
		return fmt.Errorf("record of %s takes %d bytes, more than %d: shorten its parameters", r.ID, len(data), recordLimit)
	}
	return item.SetAttribute(Attribute, data)
}

// ReadRecord reads the record of an item; id is what it must be the record of.
// What is wrong with it is an ErrRecord.
func ReadRecord(item *safepath.Dir, id string) (Record, error) {
	data, err := item.Attribute(Attribute, recordLimit)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	var r Record
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	switch {
	case r.Format != recordFormat:
		return Record{}, fmt.Errorf("%w: format %d, this program knows %d", ErrRecord, r.Format, recordFormat)
	case r.ID != id:
		return Record{}, fmt.Errorf("%w: it is of %q", ErrRecord, r.ID)
	case r.Bytes <= 0 || r.Engine == "":
		return Record{}, fmt.Errorf("%w: it lacks a size or an engine", ErrRecord)
	case r.Group != nil && (r.Snapshot != nil || r.Group.Members <= 0 || r.Group.Held < 0):
		return Record{}, fmt.Errorf("%w: it is not that of a group", ErrRecord)
	case r.Snapshot != nil && (!ValidID(r.Snapshot.Of) || r.Snapshot.Held < 0):
		return Record{}, fmt.Errorf("%w: it lacks the volume of a snapshot", ErrRecord)
	}
	return r, nil
}
