package disk

import (
	"context"
	"errors"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// How a snapshot was made, in records.
const (
	methodReflink = "reflink"
	methodCopy    = "copy"
)

// Snapshot implements engine.Engine.
func (e *Engine) Snapshot(ctx context.Context, item *safepath.Dir, from engine.Source, _ engine.Consistency) (cut engine.Cut, err error) {
	f, shared, err := e.backing.Copy(ctx, item, from, CopyOptions{Snapshot: true})
	if f != nil {
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	if err != nil {
		return engine.Cut{}, err
	}
	if err := f.Sync(); err != nil {
		return engine.Cut{}, err
	}
	cut = engine.Cut{Method: methodCopy, Consistency: engine.Atomic}
	if shared {
		cut.Method = methodReflink
	}
	cut.Held, err = e.backing.Held(f)
	return cut, err
}
