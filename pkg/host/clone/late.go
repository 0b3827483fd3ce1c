package clone

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostvol/hostvol/pkg/host/rmtree/dirstack"
)

const (
	// quietRounds bring no new name before a directory that changes counts as read:
	// a name may be replaced again just when a round begins.
	quietRounds = 8
	// maxRounds bring new names where files are made without end. One that was there
	// all the time and is not among them was replaced in each of the rounds, within
	// the microseconds between its begin and the read.
	maxRounds  = 256
	roundPause = 20 * time.Microsecond
	// coarse is more than the distance of two times that some filesystem can tell apart.
	coarse = 2 * time.Second
)

// next returns the next entry of d, in which the walk stands: first what the
// directory holds, then what came behind its end meanwhile. An entry may come
// twice, errTwice. What is in the directory all the time comes at least once.
func (c *cloner) next(ctx context.Context, d *directory) (dirstack.Entry, bool, error) {
	if !d.read {
		e, ok, err := c.src.Next()
		if ok || err != nil {
			d.last = e.Name
			return e, ok, err
		}
		if d.late, err = c.listLate(ctx, d); err != nil {
			return e, false, err
		}
		d.read = true
	}
	if len(d.late) == 0 {
		return dirstack.Entry{}, false, nil
	}
	e := d.late[0]
	d.late = d.late[1:]
	return e, true, nil
}

// listLate reads behind the end of the directory, see dirstack.Stack.Again, until
// nothing comes any more. It copies nothing meanwhile, to be quicker than who
// replaces files.
func (c *cloner) listLate(ctx context.Context, d *directory) ([]dirstack.Entry, error) {
	changed, err := c.changed(d)
	if err != nil || !changed {
		return nil, err
	}
	seen := map[string]struct{}{d.last: {}}
	var late []dirstack.Entry
	for round, quiet := 0, 0; quiet < quietRounds && round < maxRounds; round++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		before := len(late)
		if late, err = c.round(late, seen); err != nil {
			return nil, err
		}
		quiet++
		if len(late) > before {
			quiet = 0
		}
		if len(late) > 0 {
			time.Sleep(roundPause * time.Duration(round%7)) // or it could keep step with who replaces
		}
	}
	return late, nil
}

func (c *cloner) round(late []dirstack.Entry, seen map[string]struct{}) ([]dirstack.Entry, error) {
	if err := c.src.Again(); err != nil {
		return late, err
	}
	for {
		e, ok, err := c.src.Next()
		if !ok || err != nil {
			return late, err
		}
		if _, known := seen[e.Name]; !known {
			seen[e.Name] = struct{}{}
			late = append(late, e)
		}
	}
}

// changed reports whether the directory may have changed since the walk came to
// it. When it was changed just before, equal times prove nothing.
func (c *cloner) changed(d *directory) (bool, error) {
	var now unix.Stat_t
	if err := unix.Fstat(c.src.FD(), &now); err != nil {
		return false, err
	}
	age := d.entered.Sub(time.Unix(d.stat.Ctim.Unix()))
	return now.Ctim != d.stat.Ctim || now.Mtim != d.stat.Mtim || age > -coarse && age < coarse, nil
}
