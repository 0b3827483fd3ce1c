package directory

import (
	"context"
	"fmt"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// plain makes directories that nothing limits.
type plain struct {
	reason string
}

func (p plain) enforcement() engine.Enforcement { return engine.Enforcement{Reason: p.reason} }

func (plain) make(item *safepath.Dir, bytes int64, _ bool) (engine.Volume, error) {
	return engine.Volume{Bytes: bytes}, item.Mkdir(data, 0o777)
}

func (p plain) convert(context.Context, *safepath.Dir, engine.Entry, int64, func(engine.Volume) error) (engine.Volume, error) {
	return engine.Volume{}, fmt.Errorf("%w: %s", ErrNoQuota, p.reason)
}

func (plain) atomic() bool { return false }

func (plain) snapshot(*safepath.Dir, *safepath.Dir, bool) (bool, error) { return false, nil }

func (plain) seal(*safepath.Dir, bool) (int64, error) { return -1, nil }

func (plain) limit(*safepath.Dir, int64) error { return nil }

func (plain) fits(*safepath.Dir, int64, bool) error { return nil }

// apply is asked of a volume that was made while its pool had quotas.
func (p plain) apply(*safepath.Dir, engine.Volume) error {
	return fmt.Errorf("%w: %s", ErrNoQuota, p.reason)
}

func (plain) lift(context.Context, *safepath.Dir, engine.Volume) error { return nil }

func (plain) relimit(context.Context, *safepath.Dir, engine.Volume) error { return nil }

func (plain) usage(dir *safepath.Dir, _ engine.Volume) (engine.Usage, error) {
	return filesystemUsage(dir)
}

func (p plain) inspect(context.Context, *safepath.Dir, engine.Volume, bool) ([]engine.Problem, error) {
	return []engine.Problem{quotaOff(p.reason)}, nil
}

func (plain) known(*safepath.Dir, engine.Volume) {}

func (plain) forget(engine.Volume, []uint64) error { return nil }

func (plain) close() error { return nil }

func (plain) owned(*safepath.Dir) engine.Volume { return engine.Volume{} }

// quotaOff is the problem of a volume that was enforced and is not.
func quotaOff(reason string) engine.Problem {
	return engine.Problem{Reason: engine.QuotaOff, Message: "the volume was made with an enforced size, which is not enforced now: " + reason}
}

func limitMissing(have, want int64) engine.Problem {
	return engine.Problem{
		Reason:  engine.LimitMissing,
		Message: fmt.Sprintf("the kernel's limit is %d bytes, the volume's size is %d; a restart of the daemon sets it again", have, want),
	}
}
