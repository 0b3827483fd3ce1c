package volume

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/extents"
	"github.com/hostvol/hostvol/pkg/pool"
)

// cutAt is a disk of a snapshot that was made so many seconds after some time.
func cutAt(t *testing.T, of string, seconds int, size int64) disk {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	rec := pool.Record{
		ID: "snap", Created: time.Unix(1e9+int64(seconds), 0), Volume: engine.Volume{Bytes: size},
		Snapshot: &pool.Snapshot{Of: of},
	}
	return disk{origin: origin{rec: rec}, file: f}
}

func TestSuccessive(t *testing.T) {
	old := cutAt(t, "vol", 0, 8192)
	for name, c := range map[string]struct {
		target disk
		ok     bool
	}{
		"later":                      {cutAt(t, "vol", 1, 8192), true},
		"later, and grown":           {cutAt(t, "vol", 1, 16384), true},
		"the same":                   {old, false},
		"earlier":                    {cutAt(t, "vol", -1, 8192), false},
		"of another volume":          {cutAt(t, "other", 1, 8192), false},
		"of another of the name":     {cutAt(t, "vol", 1, 4096), false},
		"of one instant, as a group": {cutAt(t, "vol", 0, 8192), false},
	} {
		if err := successive(old, c.target); c.ok != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// ended is a list of ranges, and an error.
func ended(err error, all ...extents.Range) iter.Seq2[extents.Range, error] {
	return func(yield func(extents.Range, error) bool) {
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(extents.Range{}, err)
		}
	}
}

func TestNothingBeyondTheCapacity(t *testing.T) {
	broken := errors.New("broken")
	first := extents.Range{Offset: 0, Length: 512}
	for _, c := range []struct {
		ranges iter.Seq2[extents.Range, error]
		want   []extents.Range
		err    error
	}{
		{ended(nil), nil, nil},
		{ended(nil, first), []extents.Range{first}, nil},
		{ended(nil, first, extents.Range{Offset: 1024, Length: 4096}), []extents.Range{first, {Offset: 1024, Length: 488}}, nil},
		{ended(nil, first, extents.Range{Offset: 1512, Length: 1}), []extents.Range{first}, nil},
		{ended(broken, first), []extents.Range{first}, broken},
	} {
		var got []extents.Range
		var failed error
		for r, err := range within(1512, c.ranges) {
			if failed = err; err == nil {
				got = append(got, r)
			}
		}
		if !slices.Equal(got, c.want) || !errors.Is(failed, c.err) {
			t.Errorf("%v %v, want %v", got, failed, c.want)
		}
	}
}

// A stop ends what is read, and is told as such.
func TestReadingEndsWithTheService(t *testing.T) {
	s := &Service{stopping: make(chan struct{})}
	d := cutAt(t, "vol", 0, 8192)
	err := s.reading(t.Context(), d, 0, func(ctx context.Context, bytes int64, _ iter.Seq2[extents.Range, error]) error {
		close(s.stopping)
		<-ctx.Done()
		return context.Cause(ctx)
	}, func(context.Context) iter.Seq2[extents.Range, error] { return ended(nil) })
	if !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	for _, from := range []int64{-1, 8193} {
		if err := s.reading(t.Context(), d, from, nil, nil); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("from %d: %v", from, err)
		}
	}
}
