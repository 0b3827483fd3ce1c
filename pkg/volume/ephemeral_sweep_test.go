package volume

import (
	"errors"
	"testing"

	"github.com/hostvol/hostvol/pkg/pool"
)

// While a publish or another call is at a volume, nothing else is even looked at.
func TestTheSweepWaitsForCalls(t *testing.T) {
	s := &Service{}
	unlock, err := s.locks.try("volume csi-a")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := s.sweepVolume(t.Context(), nil, pool.Record{ID: "csi-a"}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}
